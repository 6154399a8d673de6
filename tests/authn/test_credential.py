"""The credential of a request, parsed once (C-24): at most one explicit credential; two are refused."""

import asyncio
import itertools

import pytest

from factories import Person, Service
from idp.authn.credential import Presented, from_headers, from_token
from idp.errors import AmbiguousCredentials

Pairs = list[tuple[str, str]]


def parsed(pairs: Pairs) -> Presented:
    return from_headers([(name.lower().encode(), value.encode("latin-1")) for name, value in pairs])


def status_line_and_body(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


async def send(service: Service, pairs: list[tuple[bytes, bytes]], path: str = "/auth/me") -> tuple[int, str]:
    """Send exactly these header lines over a socket: clients tidy up what they find odd."""
    host, port = service.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [b"GET " + path.encode() + b" HTTP/1.1", b"Host: localhost", b"Connection: close"]
    writer.write(b"\r\n".join([*lines, *(name + b": " + value for name, value in pairs), b"", b""]))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return status_line_and_body(answer)


@pytest.fixture(scope="module")
async def person(service: Service) -> Person:
    return await service.register()


# --- one explicit credential -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
async def test_the_scheme_may_be_in_any_letters(service: Service, person: Person, scheme: str) -> None:
    """RFC 9110 section 11.1: a scheme's name is case-insensitive."""
    answer = await service.me({"Authorization": f"{scheme} {person.token}"})
    assert (answer.status_code, answer.json()["id"]) == (200, person.id)


@pytest.mark.parametrize("line", [b"Bearer   %b", b"  Bearer %b", b"Bearer %b   ", b"Bearer %b\t"])
async def test_white_space_around_the_token_is_the_headers_and_not_its_own(
    service: Service, person: Person, line: bytes
) -> None:
    """RFC 9110 section 5.5: optional white space around a field's value does not count."""
    status, _ = await send(service, [(b"Authorization", line % person.token.encode())])
    assert status == 200


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
async def test_the_headers_name_may_be_in_any_letters(service: Service, person: Person, name: str) -> None:
    assert (await service.me({name: f"Bearer {person.token}"})).status_code == 200


async def test_x_api_key_carries_the_same_credentials(service: Service, person: Person) -> None:
    """C-01: a credential's own form decides what it is, never the header it came in."""
    answer = await service.me({"X-API-Key": person.token})
    assert (answer.status_code, answer.json()["id"]) == (200, person.id)


# --- presented and owned by nobody -----------------------------------------------------------------------------------

UNOWNED: dict[str, list[tuple[bytes, bytes]]] = {
    "Bearer and nothing": [(b"Authorization", b"Bearer")],
    "`Bearer` and a space": [(b"Authorization", b"Bearer ")],
    "Bearer and spaces": [(b"Authorization", b"Bearer     ")],
    "an empty Authorization": [(b"Authorization", b"")],
    "a blank Authorization": [(b"Authorization", b"   ")],
    "an empty X-API-Key": [(b"X-API-Key", b"")],
    "Basic": [(b"Authorization", b"Basic dXNlcjpwYXNz")],
    "Basic of nothing": [(b"Authorization", b"Basic Og==")],
    "Digest": [(b"Authorization", b'Digest username="pat", realm="x"')],
    "Negotiate": [(b"Authorization", b"Negotiate TlRMTVNTUAAB")],
    "DPoP": [(b"Authorization", b"DPoP a.b.c")],
    "a scheme alone": [(b"Authorization", b"Token")],
    "a word": [(b"Authorization", b"Bearer undefined")],
    "null": [(b"Authorization", b"Bearer null")],
    "two tokens in one header": [(b"Authorization", b"Bearer a.b.c, Bearer a.b.c")],
    "Bearer twice": [(b"Authorization", b"Bearer Bearer x")],
    "bytes that are not UTF-8": [(b"Authorization", b"Bearer \xff\xfe")],
    "UTF-8": [(b"Authorization", "Bearer Zoë".encode())],
    "a key of a kind that is not known": [(b"X-API-Key", b"pk_live_" + b"x" * 43)],
    "an empty header twice": [(b"X-API-Key", b""), (b"Authorization", b"Bearer")],
}


@pytest.mark.parametrize("name", UNOWNED)
async def test_a_credential_that_no_authenticator_owns_is_401_and_never_anonymous(service: Service, name: str) -> None:
    """SEC-13 SEC-14: and never the dev identity either, which the same request asks for."""
    for pairs in (UNOWNED[name], [*UNOWNED[name], (b"X-User-Email", b"ada@example.com")]):
        status, body = await send(service, pairs)
        assert (status, '"code":"credential_unrecognised"' in body) == (401, True), body


async def test_a_valid_token_after_another_scheme_is_not_accepted(service: Service, person: Person) -> None:
    """SEC-13: the value after `Basic` is not read, even if it is a valid token."""
    for scheme in ("Basic", "Token", "DPoP", "JWT", "Bearer:"):
        answer = await service.me({"Authorization": f"{scheme} {person.token}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "credential_unrecognised"), scheme


# --- two explicit credentials ----------------------------------------------------------------------------------------

A, B = "aaaa", "bbbb"
SAME: list[Pairs] = [
    [("Authorization", f"Bearer {A}"), ("X-API-Key", A)],
    [("X-API-Key", A), ("Authorization", f"bearer {A}")],
    [("Authorization", f"Bearer {A}"), ("Authorization", f"Bearer {A}")],
    [("Authorization", f"Bearer {A}"), ("Authorization", f"BEARER  {A}")],
    [("X-API-Key", A), ("X-API-Key", A)],
    [("Authorization", f"Bearer {A}"), ("X-API-Key", A), ("Authorization", f"Bearer {A}"), ("X-API-Key", A)],
]
EXPLICIT: Pairs = [
    ("Authorization", f"Bearer {A}"),
    ("Authorization", f"Bearer {B}"),
    ("Authorization", f"Bearer {A.upper()}"),
    ("Authorization", "Bearer"),
    ("Authorization", "Basic aaaa"),
    ("Authorization", "Basic bbbb"),
    ("X-API-Key", "cccc"),
    ("X-API-Key", f"Bearer {A}"),
    ("X-API-Key", A + "."),
]


@pytest.mark.parametrize("pairs", SAME)
def test_the_same_credential_twice_is_one(pairs: Pairs) -> None:
    """C-24: only credentials that differ are ambiguous."""
    assert parsed(pairs).token == A


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(EXPLICIT, 2)))
def test_two_credentials_that_differ_are_ambiguous(first: tuple[str, str], second: tuple[str, str]) -> None:
    """C-24: every pair, in both orders; an empty or a foreign one counts too."""
    with pytest.raises(AmbiguousCredentials):
        parsed([first, second])


def test_a_third_credential_does_not_make_two_that_differ_agree() -> None:
    with pytest.raises(AmbiguousCredentials):
        parsed([("Authorization", f"Bearer {A}"), ("X-API-Key", B), ("Authorization", f"Bearer {A}")])


async def test_ambiguous_credentials_are_400_over_http_even_if_both_are_good(service: Service, person: Person) -> None:
    """C-24 SEC-13: never "the first that works", in whatever order and headers they come."""
    other = await service.register()
    one, two = person.token.encode(), other.token.encode()
    for pairs in (
        [(b"Authorization", b"Bearer " + one), (b"X-API-Key", two)],
        [(b"X-API-Key", two), (b"Authorization", b"Bearer " + one)],
        [(b"Authorization", b"Bearer " + one), (b"Authorization", b"Bearer " + two)],
        [(b"X-API-Key", one), (b"X-API-Key", two)],
        [(b"Authorization", b"Bearer " + one), (b"Authorization", b"Basic dXNlcjpwYXNz")],
        [(b"Authorization", b"Bearer " + one), (b"X-API-Key", b"")],
        [(b"Authorization", b"Bearer " + one), (b"X-API-Key", b"rubbish")],
    ):
        status, body = await send(service, pairs)
        assert (status, '"code":"ambiguous_credentials"' in body) == (400, True), body
    status, _ = await send(service, [(b"Authorization", b"Bearer " + one), (b"X-API-Key", one)])
    assert status == 200


async def test_a_public_route_looks_at_no_credential(service: Service) -> None:
    """A stale or doubled credential in a browser must not break a login or a health check."""
    pairs = [(b"Authorization", b"Bearer a.b.c"), (b"X-API-Key", b"other")]
    for path in ("/health", "/.well-known/jwks.json", "/docs"):
        status, _ = await send(service, pairs, path)
        assert status == 200, path


# --- cookies ---------------------------------------------------------------------------------------------------------


def test_a_cookie_beside_an_explicit_credential_is_ignored() -> None:
    """C-24: a browser sends cookies by itself; what was written on purpose decides."""
    explicit = parsed([("Authorization", f"Bearer {A}"), ("Cookie", "session=s")])
    assert (explicit.token, dict(explicit.cookies)) == (A, {})
    alone = parsed([("Cookie", "session=s; theme=dark")])
    assert (alone.token, dict(alone.cookies)) == (None, {"session": "s", "theme": "dark"})


@pytest.mark.parametrize(
    "cookie", ["", "session", "=;=;", "a b=c", 'x="', "\xff=\xfe", "session=a; session=b", ";" * 999]
)
def test_cookies_that_cannot_be_read_are_no_error(cookie: str) -> None:
    """A foreign cookie never causes a 500."""
    assert parsed([("Cookie", cookie)]).token is None


async def test_a_cookie_changes_nothing_about_an_explicit_credential(service: Service, person: Person) -> None:
    """C-24: neither for better nor for worse."""
    good = await service.me({**person.bearer, "Cookie": "session=rubbish"})
    bad = await service.me({"Authorization": "Bearer rubbish", "Cookie": f"session={person.token}"})
    alone = await service.me({"Cookie": f"session={person.token}; Authorization={person.token}"})
    assert (good.status_code, bad.status_code, alone.status_code) == (200, 401, 401)
    assert alone.json()["code"] == "unauthenticated"


# --- what a validator asks about -------------------------------------------------------------------------------------


def test_a_credential_to_validate_has_no_headers_or_cookies() -> None:
    """C-01: who asks must not lend the credential anything of their own."""
    asked = from_token(A)
    assert (asked.token, dict(asked.headers), dict(asked.cookies)) == (A, {}, {})


def test_the_repr_of_a_presented_credential_is_hidden(person: Person) -> None:
    """SEC-74: in a log or a trace-back there is no credential."""
    shown = repr(parsed([("Authorization", f"Bearer {person.token}"), ("Cookie", "session=s")]))
    assert shown == "Presented(explicit=True, jwt=True)"
