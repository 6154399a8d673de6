"""A phone with an authenticator app, and the ways in that ask for its codes."""

import time
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pyotp

from factories import PASSWORD, Person, Service


@dataclass
class Phone:
    """An authenticator app that was set up for a person."""

    service: Service
    person: Person
    secret: str
    recovery_codes: list[str] = field(default_factory=list)

    def code(self, *, steps: int = 0) -> str:
        """Return the code of the time step that is so many steps from now."""
        return pyotp.TOTP(self.secret).at(int(time.time()) + 30 * steps)

    def wrong_code(self) -> str:
        near = {self.code(steps=steps) for steps in range(-3, 4)}
        return next(code for code in (f"{number:06}" for number in range(100)) if code not in near)

    async def wait(self) -> None:
        """Let time pass: the codes that were used are no longer the current ones."""
        await self.service.sql("UPDATE idp.totp_secrets SET last_step = 0 WHERE user_id = $1", self.person.id)


async def begin(service: Service, person: Person) -> dict[str, Any]:
    answer = await service.client.post("/api/auth/factors/totp", headers=person.bearer)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def confirm(service: Service, person: Person, begun: dict[str, Any], code: str) -> httpx2.Response:
    body = {"enrolment": begun["enrolment"], "code": code}
    return await service.client.post("/api/auth/factors/totp/confirm", headers=person.bearer, json=body)


async def set_up(service: Service, person: Person) -> Phone:
    """Set up an authenticator app; the person's token is then the one of the stronger session."""
    begun = await begin(service, person)
    phone = Phone(service, person, begun["secret"])
    answer = await confirm(service, person, begun, phone.code())
    assert answer.status_code == 200, answer.text
    phone.recovery_codes = answer.json()["recovery_codes"]
    person.token, person.session_id = (answer.json()["session"][name] for name in ("access_token", "session_id"))
    await phone.wait()
    return phone


async def password_only(service: Service, person: Person, *, path: str = "/auth/login", **more: Any) -> httpx2.Response:
    return await service.client.post(path, json={"email": person.email, "password": PASSWORD, **more})


async def waiting(service: Service, person: Person, **more: Any) -> str:
    """Sign in with the password, and return the token of the sign-in that waits."""
    answer = await password_only(service, person, **more)
    assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_required"), answer.text
    return str(answer.json()["pending_token"])


async def prove(service: Service, pending_token: str, code: str) -> httpx2.Response:
    return await service.client.post("/api/auth/second-factor", json={"pending_token": pending_token, "code": code})
