"""C-11: factors of a person who registered another's address do not survive its owner's proofs."""

from factories import PASSWORD, Person, Service
from factors.phone import set_up
from flows.mail_support import ask_for_reset, reset, sign_up, verify


async def test_a_strangers_factor_does_not_survive_the_link_and_a_reset(service: Service) -> None:
    email = "claimed-with-factor@example.com"
    token = await sign_up(service, email)  # by a stranger
    answer = await service.client.post("/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    stranger = Person(body["user_id"], email, PASSWORD, body["access_token"], body["user"], "", "")
    await set_up(service, stranger)
    service.client.cookies.clear()
    verified = await verify(service, token)  # the owner opens the mail
    assert verified.status_code in {200, 403}, verified.text
    link = await ask_for_reset(service, email)
    assert (await reset(service, link, "another-long-Passw0rd-1")).status_code == 200
    assert await service.sql("SELECT 1 FROM idp.totp_secrets WHERE user_id = $1", stranger.id) == []
