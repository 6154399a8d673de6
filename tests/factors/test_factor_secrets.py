"""Secrets of second factors over a change of the root secret, and sign-ins that another site tries to finish."""

import json

from cli.support import idp
from factories import PASSWORD, Service, root_secret, running
from factors.phone import prove, set_up, waiting
from flows.mail_support import verified
from idp.dev.embedded import EmbeddedPostgres


async def test_factors_work_on_under_a_new_root_secret(postgres: EmbeddedPostgres) -> None:
    """C-06c: with its next use an authenticator app moves to the current secret, so that the old one can go."""
    url, old, new = postgres.create_database("factors_rotation"), root_secret(), root_secret()
    async with running(url, environ={"IDP_SECRET_KEY": old}) as service:
        person = await verified(service)
        phone = await set_up(service, person)
    environ = {"IDP_SECRET_KEY": new, "IDP_PREVIOUS_SECRET_KEYS": old}
    done = idp("keys", "secrets", "-o", "json", DATABASE_URL=url, **environ)
    assert [each["authenticator_apps"] for each in json.loads(done.stdout)] == [0, 1]
    async with running(url, environ=environ, migrate=False) as service:
        phone.service = service
        recovered = await prove(service, await waiting(service, person), phone.recovery_codes[0])
        assert recovered.status_code == 200
        assert (await prove(service, await waiting(service, person), phone.code())).status_code == 200
    done = idp("keys", "secrets", "-o", "json", DATABASE_URL=url, **environ)
    assert [each["authenticator_apps"] for each in json.loads(done.stdout)] == [1, 0]


async def test_another_site_signs_no_browser_in_with_a_sign_in_of_its_own(service: Service) -> None:
    """SEC-44: login CSRF, with the token and the code of the attacker."""
    person = await verified(service)
    phone = await set_up(service, person)
    body = {"email": person.email, "password": PASSWORD}
    begun = await service.client.post("/auth/login?mode=cookie", json=body)
    sent = {"pending_token": begun.json()["pending_token"], "code": phone.code()}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = await service.client.post("/api/auth/second-factor", json=sent, headers=headers)
        assert answer.status_code == 403, answer.text
        assert "set-cookie" not in answer.headers
    assert (await service.client.post("/api/auth/second-factor", json=sent)).status_code == 200
