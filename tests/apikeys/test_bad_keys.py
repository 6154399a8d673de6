"""Invalid keys and invalid requests: each gets a clear code, never a 5xx; and floods of them do not block valid ones.

The codes of a verdict are S2's; those of a refusal are in the catalogue.
"""

import secrets
from typing import Any

import pytest

from apikeys.key_support import (
    ADMIN,
    ADMIN_TOKEN,
    KEYS,
    TOKENS,
    bearer,
    code_of,
    get,
    make_key,
    make_token,
    new_name,
    post_key,
    post_token,
    problem,
)
from factories import Person, Service, running
from flows.test_bad_input import raw
from idp.apikeys.secret import generate
from idp.dev.embedded import EmbeddedPostgres

LOOKALIKES = str.maketrans("0O1lI", "O0lI1")
DAYS: dict[str, Any] = {
    "negative": -1,
    "zero": 0,
    "huge": 3651,
    "very huge": 10**12,
    "beyond 64 bits": 10**30,
    "a fraction": 1.5,
    "a text": "30",
    "true": True,
    "a list": [30],
}
NAMES: dict[str, Any] = {
    "empty": "",
    "a space first": " laptop",
    "201 characters": "n" * 201,
    "a line break": "a\nb",
    "a line break at the end": "laptop\n",
    "NUL": "a\x00b",
    "an escape": "\x1b[2J",
    "DEL": "a\x7f",
    "a number": 1,
    "null": None,
    "a list": ["laptop"],
}
# What is half a surrogate pair is no text at all, and so no JSON that can be read (RFC 8259 section 8.2).
BODIES = {
    "not JSON": (b"{", "malformed_json"),
    "not UTF-8": (b'{"name":"\xff","scopes":[]}', "malformed_json"),
    "half a sign": (b'{"name":"\\ud800","scopes":[]}', "malformed_json"),
    "nothing": (b"", "validation_failed"),
    "a list": (b"[]", "validation_failed"),
    "null": (b"null", "validation_failed"),
    "no name": (b'{"scopes":[]}', "validation_failed"),
    "no scopes": (b'{"name":"k"}', "validation_failed"),
    "deep": (b'{"x":' + b"[" * 100_000, "malformed_json"),
}


def damaged(secret: str) -> dict[str, str]:
    """Return what comes of a key that passes through people and programs."""
    prefix, body = secret[: secret.rindex("_") + 1], secret[secret.rindex("_") + 1 :]
    swapped = body.translate(LOOKALIKES)
    return {
        "cut short at the end": secret[:-1],
        "cut to its shown part": secret[:12],
        "its prefix alone": prefix,
        "cut at the front": secret[1:],
        "without its prefix": body,
        "look-alike letters": prefix + (swapped if swapped != body else "0" + body[1:]),
        "another case": prefix + body.swapcase(),
        "upper-case prefix": prefix.upper() + body,
        "twice": secret + secret,
        "a space inside": f"{secret[:20]} {secret[20:]}",
        "a line break at the end": secret + "\n",
        "a zero-width space": secret + "\u200b",
        "full-width letters": prefix + "".join(chr(ord(letter) + 0xFEE0) for letter in body),
        "NUL": secret + "\x00",
        "NUL first": "\x00" + secret,
        "in quotes": f'"{secret}"',
        "with Bearer": f"Bearer {secret}",
        "percent-encoded": secret.replace("_", "%5F"),
        "the other prefix": ("amp_live_" if prefix == "sk_live_" else "sk_live_") + body,
        "of another deployment": generate(prefix[:-1]),
        "a pattern": prefix + "%",
        "SQL": prefix + "' OR '1'='1",
        "an emoji": prefix + "\U0001f511" * 43,
        "dots, as if a token": secret + "." + secret + "." + secret,
        "nothing": "",
    }


# --- damaged keys ----------------------------------------------------------------------------------------------------


async def test_a_damaged_key_is_not_found(keyed: Service, person: Person) -> None:
    """S0-31 S2-18: every way to ask says so, none with a 5xx; the key itself is fine all the while."""
    asker = bearer((await make_token(keyed, scopes=["idp:introspect"]))["token"])
    for good in ((await make_key(keyed, person))["secret"], (await make_token(keyed))["token"]):
        for what, bad in damaged(good).items():
            verdict = await keyed.validate(bad)
            assert (verdict["valid"], verdict["error"]) == (False, "token_not_found"), what
            answer = await keyed.client.post("/internal/validate-key", json={"key": bad})
            assert (answer.status_code, answer.json()["error"]) == (200, "key_not_found"), what
            answer = await keyed.client.post("/oauth2/introspect", data={"token": bad}, headers=asker)
            assert (answer.status_code, answer.content) == (200, b'{"active":false}'), what
        assert await code_of(keyed, good) == "valid"


async def test_a_damaged_key_in_a_header_is_401(keyed: Service, person: Person) -> None:
    """SEC-14: never anonymous, never 5xx; spaces around it are no damage."""
    good = (await make_key(keyed, person))["secret"]
    for what, bad in damaged(good).items():
        sent = bad.encode("utf-8", "surrogatepass").strip()
        if any(sign in bad for sign in "\x00\n"):
            continue  # no header can carry these; see tests/flows/test_bad_input.py
        answer = await keyed.client.get("/auth/me", headers={b"X-API-Key": sent})
        assert problem(answer)[0] == 401, what
        assert problem(answer)[1] in {"token_not_found", "credential_unrecognised"}, what
    host = keyed.base_url.removeprefix("http://").encode()
    for fine in (f"  {good} ", f"\t{good}\t"):
        head = b"GET /auth/me HTTP/1.1\r\nhost: " + host + b"\r\nconnection: close\r\nx-api-key:"
        assert (await raw(keyed, head + fine.encode() + b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_header_of_any_bytes_is_401(keyed: Service) -> None:
    """SEC-76: all that a header can carry."""
    for sent in (bytes(range(0x80, 0x100)), b"sk_live_" + b"\xff" * 43, b"sk_live_\xed\xa0\x80", b"amp_live_\xc3\xa9"):
        for name, value in ((b"X-API-Key", sent), (b"Authorization", b"Bearer " + sent)):
            assert problem(await keyed.client.get("/auth/me", headers={name: value}))[0] == 401


@pytest.mark.parametrize("size", [513, 8_000, 60_000, 99_000, 101_000, 900_000, 1_100_000])
async def test_a_key_of_any_length_is_answered(keyed: Service, size: int) -> None:
    """SEC-28: up to 100,000 characters there is a verdict, then 422, then 413 for the body as a whole."""
    token = "sk_live_" + "A" * (size - 8)
    expected = 200 if size <= 100_000 else 422 if size < 1_000_000 else 413
    for path, member in (("/auth/validate", "token"), ("/internal/validate-key", "key")):
        answer = await keyed.client.post(path, json={member: token})
        assert answer.status_code == expected, path
        if expected == 200:
            assert answer.json()["error"] in {"token_not_found", "key_not_found"}
    asker = bearer((await make_token(keyed, scopes=["idp:introspect"]))["token"])
    answer = await keyed.client.post("/oauth2/introspect", data={"token": token}, headers=asker)
    assert answer.status_code == {200: 200, 422: 400, 413: 413}[expected]
    header = await keyed.client.get("/auth/me", headers={"X-API-Key": token})
    assert problem(header)[0] == (401 if size < 32_000 else 431)


@pytest.mark.parametrize("token", ["\\ud800", "sk_live_\\udfff", "\\ud83d"])
async def test_half_a_sign_is_no_text(keyed: Service, token: str) -> None:
    """SEC-76: as an escape in JSON, and as bytes in a form."""
    for path, member in (("/auth/validate", "token"), ("/internal/validate-key", "key")):
        body = f'{{"{member}":"{token}"}}'.encode()
        answer = await keyed.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert problem(answer) == (422, "malformed_json")
    asker = bearer((await make_token(keyed, scopes=["idp:introspect"]))["token"])
    headers = asker | {"Content-Type": "application/x-www-form-urlencoded"}
    for body in (b"token=%ED%A0%80", b"token=\xed\xa0\x80", b"token=%FF"):
        answer = await keyed.client.post("/oauth2/introspect", content=body, headers=headers)
        assert answer.status_code == 400, (body, answer.text)
        assert answer.json()["error"] == "invalid_request"


# --- wishes that cannot be met ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", DAYS)
async def test_a_lifetime_is_1_to_3650_days(keyed: Service, person: Person, what: str) -> None:
    """S0-16 S2-20 S2-24."""
    token = await make_token(keyed)
    path = f"{TOKENS}/{token['token_id']}/extend"
    for answer in (
        await post_key(keyed, person, expires_in_days=DAYS[what]),
        await post_token(keyed, ttl_days=DAYS[what]),
        await keyed.client.post(path, json={"extend_days": DAYS[what]}, headers=ADMIN),
    ):
        assert problem(answer) == (422, "validation_failed")
    assert (await get(keyed, f"{TOKENS}/{token['token_id']}", ADMIN))["expires_at"] is None
    assert await get(keyed, KEYS, person.bearer) == []


async def test_the_longest_lifetime_is_ten_years(keyed: Service, person: Person) -> None:
    """S0-16 S2-20."""
    assert (await make_key(keyed, person, expires_in_days=3650))["expires_at"] is not None
    assert (await make_token(keyed, ttl_days=3650))["expires_at"] is not None


@pytest.mark.parametrize("what", NAMES)
async def test_a_name_is_one_line_of_text(keyed: Service, person: Person, what: str) -> None:
    """S0-16 S0-35 S2-20: for keys, for tokens, and for a new name."""
    key = await make_key(keyed, person)
    for answer in (
        await post_key(keyed, person, name=NAMES[what]),
        await post_token(keyed, name=NAMES[what]),
        await keyed.client.patch(f"{KEYS}/{key['key_id']}", json={"name": NAMES[what]}, headers=person.bearer),
    ):
        assert problem(answer) == (422, "validation_failed")
        assert answer.json()["errors"][0]["loc"] == ["body", "name"]


@pytest.mark.parametrize("name", ["n" * 200, "ключ \U0001f511", "a  b ", "<script>", "'; DROP TABLE x; --", "%s{}"])
async def test_any_other_name_will_do(keyed: Service, person: Person, name: str) -> None:
    made = await make_key(keyed, person, name=name)
    assert (made["name"], (await keyed.validate(made["secret"]))["name"]) == (name, name)


@pytest.mark.parametrize("what", BODIES)
async def test_a_body_that_cannot_be_read_makes_nothing(keyed: Service, person: Person, what: str) -> None:
    """C-16 SEC-76."""
    body, code = BODIES[what]
    for path, headers in ((KEYS, person.bearer), (TOKENS, ADMIN)):
        answer = await keyed.client.post(path, content=body, headers=headers | {"Content-Type": "application/json"})
        assert problem(answer) == (422, code)
    assert await get(keyed, KEYS, person.bearer) == []


# --- a flood ---------------------------------------------------------------------------------------------------------

LIMIT = 20


async def test_a_flood_of_bad_keys_is_shed_and_good_ones_pass(postgres: EmbeddedPostgres) -> None:
    """SEC-8: after the limit what was never seen and looks wrong is 429, before it costs a look-up; good keys pass."""
    environ = {
        "ADMIN_TOKEN": ADMIN_TOKEN,
        "IDP_RATE_LIMITS__BAD_CREDENTIALS_PER_ADDRESS_PER_MINUTE": str(LIMIT),
    }
    async with running(postgres.create_database("flood"), environ=environ) as service:
        person = await service.register()
        known, unseen = await make_key(service, person), await make_key(service, person)
        token = await make_token(service, scopes=["idp:introspect"])
        for good in (known["secret"], token["token"]):
            assert await code_of(service, good) == "valid"

        async def ask(path: str, member: str, bad: str) -> Any:
            return await service.client.post(path, json={member: bad})

        for number in range(LIMIT):
            answer = await ask("/auth/validate", "token", f"sk_live_{number}")
            assert (answer.status_code, answer.json()["error"]) == (200, "token_not_found"), number
        for path, member in (("/auth/validate", "token"), ("/internal/validate-key", "key")):
            answer = await ask(path, member, f"sk_live_{secrets.token_hex(8)}")
            assert problem(answer) == (429, "rate_limited")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert "valid" not in answer.json(), "nothing was decided"
        header = await service.me({"X-API-Key": "sk_live_more"})
        assert problem(header) == (429, "rate_limited")
        introspected = await service.client.post(
            "/oauth2/introspect", data={"token": "sk_live_other"}, headers=bearer(token["token"])
        )
        assert (introspected.status_code, introspected.json()["error"]) == (429, "temporarily_unavailable")
        assert 1 <= int(introspected.headers["retry-after"]) <= 60

        assert await code_of(service, known["secret"]) == "valid", "from memory"
        assert await code_of(service, unseen["secret"]) == "valid", "never seen, and of our form"
        assert await code_of(service, person.token) == "valid", "a token that is signed"
        assert await code_of(service, generate("sk_live")) == "token_not_found", "one of our form that nobody has"
        assert (await make_key(service, person, name=new_name()))["secret"]

        metrics = (await service.client.get("/metrics")).text
        assert 'idp_rate_limited_total{rule="bad_credentials"}' in metrics
        assert 'auth_request_total{endpoint="/auth/validate",http_status="429",method="POST"}' in metrics


async def test_a_flood_of_well_formed_keys_is_shed_later(postgres: EmbeddedPostgres) -> None:
    """SEC-8: an address may be a gateway of many clients, so well-formed credentials have a higher limit."""
    environ = {"IDP_RATE_LIMITS__BAD_CREDENTIALS_PER_ADDRESS_PER_MINUTE": "1"}
    async with running(postgres.create_database("flood_of_ours"), environ=environ) as service:
        person = await service.register()
        known = await make_key(service, person)
        assert await code_of(service, known["secret"]) == "valid"
        answers = [await service.client.post("/auth/validate", json={"token": generate("sk_live")}) for _ in range(105)]
        assert [answer.status_code for answer in answers] == [200] * 100 + [429] * 5
        assert await code_of(service, known["secret"]) == "valid"


async def test_refusals_of_callers_count_once(postgres: EmbeddedPostgres) -> None:
    """SEC-8: a bad key in a header is one bad key, whichever way the request is answered."""
    environ = {"IDP_RATE_LIMITS__BAD_CREDENTIALS_PER_ADDRESS_PER_MINUTE": str(LIMIT)}
    async with running(postgres.create_database("flood_of_callers"), environ=environ) as service:
        answers = [await service.me({"X-API-Key": f"sk_live_{number}"}) for number in range(LIMIT + 1)]
        assert [answer.status_code for answer in answers] == [401] * LIMIT + [429]
