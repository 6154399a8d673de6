"""Verification keeps a password that the owner provably chose, and clears any other with a notice (C-11)."""

from factories import PASSWORD, Person, Service
from flows.mail_support import VERIFY, ask_again, mails_about, sign_up, token_in, verify

LOGIN = "/api/auth/login"


async def log_in(service: Service, email: str, password: str) -> int:
    return (await service.client.post(LOGIN, json={"email": email, "password": password})).status_code


async def register_again(service: Service, email: str, password: str, *, count: int) -> str:
    answer = await service.client.post("/api/auth/email/register", json={"email": email, "password": password})
    assert answer.status_code == 200
    return token_in((await mails_about(service, email, VERIFY, count=count))[0])


async def test_registering_twice_with_the_same_password_keeps_it(service: Service) -> None:
    """C-11 C-30: repeated requests do not lose the password."""
    email = service.new_email()
    await sign_up(service, email)
    await register_again(service, email, PASSWORD, count=2)
    token = await register_again(service, email, PASSWORD, count=3)
    answer = (await verify(service, token)).json()
    assert answer["password_set"] is True
    assert "password_cleared" not in answer
    assert await log_in(service, email, PASSWORD) == 200


async def test_a_stranger_who_registers_again_cannot_win_the_account_back(service: Service) -> None:
    """C-11: once two passwords were chosen, no link keeps either, also not when the first one is repeated."""
    email = service.new_email()
    await sign_up(service, email, "the stranger's password")
    await register_again(service, email, PASSWORD, count=2)
    token = await register_again(service, email, "the stranger's password", count=3)
    answer = (await verify(service, token)).json()
    assert answer["password_set"] is False
    for password in ("the stranger's password", PASSWORD):
        assert await log_in(service, email, password) == 401


async def registered_in_a_browser(service: Service) -> tuple[Person, str]:
    """Register at S3's door, and return the cookie that the browser got."""
    email = service.new_email()
    body = {"email": email, "password": PASSWORD, "name": "Pat"}
    answer = await service.client.post("/auth/register", json=body)
    person = Person(answer.json()["user_id"], email, PASSWORD, answer.json()["access_token"], {},
                    answer.json()["refresh_token"], answer.json()["session_id"])  # fmt: skip
    return person, f"idp_device={answer.cookies['idp_device']}"


async def test_the_browser_that_registered_keeps_its_password(service: Service) -> None:
    """C-11 S3-23: it verifies after /auth/register, by the API and on the page."""
    for form in (False, True):
        person, cookie = await registered_in_a_browser(service)
        token = await ask_again(service, person.email, count=1)
        if form:
            answer = await service.client.post("/verify-email", data={"token": token}, headers={"Cookie": cookie})
            assert answer.headers["location"] == "/verify-email?step=done"
        else:
            answer = await service.client.post("/api/auth/email/verify", json={"token": token},
                                               headers={"Cookie": cookie})  # fmt: skip
            assert answer.json()["password_set"] is True
        assert await log_in(service, person.email, PASSWORD) == 200
        mail = (await mails_about(service, person.email, "Welcome"))[0]
        assert "cleared" not in mail["text"]


async def test_another_browser_clears_it_and_says_so(service: Service) -> None:
    """C-11: in the answer with what to do, in a mail, and on the page; another account's cookie proves nothing."""
    person, _ = await registered_in_a_browser(service)
    _, others_cookie = await registered_in_a_browser(service)
    token = await ask_again(service, person.email, count=1)
    answer = await service.client.post("/api/auth/email/verify", json={"token": token},
                                       headers={"Cookie": others_cookie})  # fmt: skip
    assert answer.json()["password_set"] is False
    assert "POST /api/auth/password/reset/request" in answer.json()["password_cleared"]
    assert "password" in (mail := (await mails_about(service, person.email, "Welcome"))[0])["text"]
    assert "was cleared" in mail["text"]
    assert await log_in(service, person.email, PASSWORD) == 401
    other, _ = await registered_in_a_browser(service)
    token = await ask_again(service, other.email, count=1)
    answer = await service.client.post("/verify-email", data={"token": token})
    page = await service.client.get(answer.headers["location"])
    assert "Earlier passwords no longer work" in page.text
