"""`GET /auth/me`: the same response with dev headers and with a password login."""

from factories import Service


async def test_dev_headers_and_a_password_login_give_the_same_answer(service: Service) -> None:
    """S3-05 S3-27 S3-30: only the credential differs."""
    person = await service.register()
    by_header = await service.me({"X-User-Email": person.email})
    login = await service.client.post("/auth/login", json={"email": person.email, "password": person.password})
    by_token = await service.me({"Authorization": f"Bearer {login.json()['access_token']}"})
    assert by_header.status_code == by_token.status_code == 200
    assert by_header.json() == by_token.json()
    assert [team["name"] for team in by_token.json()["teams"]] == ["General"]
    assert [domain["key"] for domain in by_token.json()["domains"]] == ["engineering"]
    assert by_token.json()["roles"] == ["user"]
