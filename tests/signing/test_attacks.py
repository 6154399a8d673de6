"""Attacks on access tokens (RFC 8725, SEC-20 to SEC-29). Each changes one thing of a token that is good without it.

Most are signed with the service's own key, so that nothing but the check in question can refuse them.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from joserfc.jwk import ECKey, RSAKey

from factories import Service
from signing.forgery import LEFT_OUT, Forge, b64url, compact, es256, hs, json_bytes, rs256
from table_tests import table

ATTACKER = ECKey.generate_key("P-256", private=True)
ATTACKER_RSA = RSAKey.generate_key(2048, private=True)
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
QUICK_SECONDS = 2.0  # to refuse one token, the round trip included (SEC-28)

INVALID = "token_invalid"  # it names us as its issuer and is bad
EXPIRED = "token_expired"
FOREIGN = "credential_unrecognised"  # it has no single reading, or does not name us: nobody here owns it


class Attack(NamedTuple):
    name: str
    code: str
    make: Callable[[Forge], str]


@pytest.fixture(scope="session")
async def forge(service: Service) -> Forge:
    return await Forge.of(service, await service.register(name="Vic Victim"))


# --- what the helpers below do to a good token -----------------------------------------------------------------------


def header(code: str = INVALID, /, **changes: object) -> tuple[str, Callable[[Forge], str]]:
    return code, lambda f: f.token(header=f.header(**changes))


def claims(code: str = INVALID, /, **changes: object) -> tuple[str, Callable[[Forge], str]]:
    return code, lambda f: f.token(claims=f.claims(**changes))


def unsigned(alg: object) -> tuple[str, Callable[[Forge], str]]:
    return INVALID, lambda f: f.token(header=f.header(alg=alg), sign=lambda _: b"")


def raw_number(name: str, text: str) -> Callable[[Forge], str]:
    """Write a number as this exact text, which `json.dumps` would not."""

    def make(f: Forge) -> str:
        return f.token(claims=json_bytes(f.claims(**{name: "PLACE"})).replace(b'"PLACE"', text.encode()))

    return make


def signed_parts(change: Callable[[str, str], tuple[str, str]]) -> Callable[[Forge], str]:
    """Change the encoded header and payload before they are signed, so that the signature holds."""

    def make(f: Forge) -> str:
        first, second, _ = f.token().split(".")
        signing_input = ".".join(change(first, second))
        return f"{signing_input}.{b64url(f.sign(signing_input.encode()))}"

    return make


def another_spelling(part: str) -> str:
    """Return base64url of the same bytes, written differently: its unused bits are set (RFC 4648 section 3.5)."""
    assert len(part) % 4 in {2, 3}, "no unused bits here"
    return part[:-1] + BASE64URL[BASE64URL.index(part[-1]) + 1]


def padded_to(part: str) -> bytes:
    """Return JSON whose base64url has unused bits, by adding spaces."""
    raw = part.encode()
    return raw if len(raw) % 3 else raw + b" "


def loose_header(f: Forge) -> str:
    first = another_spelling(b64url(padded_to(json.dumps(f.header()))))
    return _signed(f, first, b64url(json_bytes(f.claims())))


def loose_payload(f: Forge) -> str:
    second = another_spelling(b64url(padded_to(json.dumps(f.claims()))))
    return _signed(f, b64url(json_bytes(f.header())), second)


def _signed(f: Forge, first: str, second: str) -> str:
    return f"{first}.{second}.{b64url(f.sign(f'{first}.{second}'.encode()))}"


def loose_signature(f: Forge) -> str:
    first, second, third = f.token().split(".")
    return f"{first}.{second}.{another_spelling(third)}"


def der_signature(f: Forge) -> str:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    def sign(signing_input: bytes) -> bytes:
        raw = f.sign(signing_input)
        return encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))

    return f.token(sign=sign)


def with_public_key_as_secret(encoding: str, **changes: object) -> Callable[[Forge], str]:
    """Sign HS256 with what everyone can read: our public key, in each form a verifier might hold it (SEC-20)."""

    def make(f: Forge) -> str:
        public = f.key.key.public_key
        pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        secrets = {
            "pem": pem,
            "pem without the last newline": pem.strip(),
            "der": der,
            "point": public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint),
            "jwk": json_bytes(f.key.key.as_dict(private=False)),
            "kid": f.key.kid.encode(),
            "nothing": b"",
        }
        return f.token(header=f.header(alg="HS256", **changes), claims=f.claims(**changes), sign=hs(secrets[encoding]))

    return make


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def other_algorithm(alg: str) -> tuple[str, Callable[[Forge], str]]:
    return INVALID, lambda f: f.token(header=f.header(alg=alg))


def attacker(code: str = INVALID, /, **changes: object) -> tuple[str, Callable[[Forge], str]]:
    return code, lambda f: f.token(header=f.header(**changes), sign=es256(ATTACKER))


def jwk_of_the_attacker() -> dict[str, object]:
    return {**ATTACKER.as_dict(private=False), "alg": "ES256", "use": "sig"}


SEC_20 = [
    *(Attack(f"alg {alg!r}", *unsigned(alg)) for alg in ("none", "None", "NONE", "nOnE", "none ", " none", "", None)),
    *(Attack(f"alg is {alg!r}", *unsigned(alg)) for alg in (False, 0, [], ["ES256"], {"alg": "ES256"})),
    Attack("alg left out", *unsigned(LEFT_OUT)),
    Attack("alg none with our kid and a signature", *header(alg="none")),
    Attack("no signature", INVALID, lambda f: f.token(sign=lambda _: b"")),
    *(Attack(f"alg {alg} over an ES256 signature", *other_algorithm(alg))
      for alg in ("HS256", "HS384", "HS512", "ES384", "ES512", "ES256K", "RS256", "PS256", "EdDSA", "Ed25519", "es256",
                  "dir", "A256KW", "PBES2-HS256+A128KW")),
    *(Attack(f"HS256, the secret is our public key as {form}", INVALID, with_public_key_as_secret(form))
      for form in ("pem", "pem without the last newline", "der", "point", "jwk", "kid", "nothing")),
    *(Attack(f"HS256 without an issuer, the secret is our public key as {form}", FOREIGN,
             with_public_key_as_secret(form, iss=LEFT_OUT, aud=LEFT_OUT, typ="JWT"))
      for form in ("pem", "der", "jwk", "nothing")),
    Attack("our kid, another P-256 key", *attacker()),
    Attack("our kid, an RSA key and RS256", INVALID,
           lambda f: f.token(header=f.header(alg="RS256"), sign=rs256(ATTACKER_RSA))),
    Attack("a signature of zeros (psychic signature)", INVALID, lambda f: f.token(sign=lambda _: bytes(64))),
    Attack("a signature of one byte", INVALID, lambda f: f.token(sign=lambda _: b"x")),
    Attack("a signature in DER", INVALID, der_signature),
    Attack("the signature of another token", INVALID, lambda f: ".".join(
        (*f.token().split(".")[:2], f.token(claims=f.claims(jti="another")).split(".")[2]))),
    Attack("the payload of another user under our signature", INVALID, lambda f: ".".join(
        (f.token().split(".")[0], b64url(json_bytes(f.claims(sub="root", uid="root"))), f.token().split(".")[2]))),
]  # fmt: skip

SEC_21 = [
    Attack("jwk: the attacker's key in the header", *attacker(jwk=jwk_of_the_attacker())),
    Attack("jwk and its thumbprint as kid", *attacker(jwk=jwk_of_the_attacker(), kid=ATTACKER.thumbprint())),
    Attack("jwk and no kid", *attacker(jwk=jwk_of_the_attacker(), kid=LEFT_OUT)),
    Attack("jwk of an octet key, and HS256", INVALID, lambda f: f.token(
        header=f.header(alg="HS256", jwk={"kty": "oct", "k": b64url(b"k" * 32)}), sign=hs(b"k" * 32))),
    Attack("x5c: the attacker's certificate chain", *attacker(x5c=["MIIB"])),
    Attack("x5t", *attacker(x5t="AAAA", **{"x5t#S256": "AAAA"})),
]  # fmt: skip

SEC_22 = [
    *(Attack(f"kid {kid!r}", *header(kid=kid))
      for kid in ("", "unknown", "../../../../dev/null", "' OR 1=1 --", "a\x00b", "x" * 4000, None, 0, True,
                  ["k"], {"kid": "k"})),
    Attack("kid of half a sign", *header(FOREIGN, kid="\ud800")),
    Attack("kid left out", *header(kid=LEFT_OUT)),
    Attack("kid in other letters", INVALID, lambda f: f.token(header=f.header(kid=f.key.kid.swapcase()))),
]  # fmt: skip

SEC_23 = [
    *(Attack(f"exp {text}", FOREIGN, raw_number("exp", text))
      for text in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "01", "+1", "0x10", "1_000")),
    *(Attack(f"exp {text}", INVALID, raw_number("exp", text))
      for text in ("1e300", "1" + "0" * 30, "253402300800", "-1", "-1e10", '"9999999999"', "true", "false", "null",
                   "[9999999999]", '{"exp":9999999999}', '""')),
    Attack("exp left out", *claims(exp=LEFT_OUT)),
    Attack("exp 0", *claims(EXPIRED, exp=0)),
    Attack("exp a second ago", EXPIRED, lambda f: f.token(claims=f.claims(exp=int(time.time()) - 1))),
    Attack("exp is now", EXPIRED, lambda f: f.token(claims=f.claims(exp=int(time.time())))),
    *(Attack(f"{name} lies ten seconds ahead", INVALID,
             lambda f, name=name: f.token(claims=f.claims(**{name: int(time.time()) + 10})))
      for name in ("iat", "nbf")),
    *(Attack(f"{name} is {value!r}", *claims(**{name: value}))
      for name in ("iat", "nbf") for value in ("now", True, None, [], 10**30, -1)),
]  # fmt: skip

SEC_24 = [
    Attack("iss left out", *claims(FOREIGN, iss=LEFT_OUT)),
    *(Attack(f"iss {iss!r}", *claims(FOREIGN, iss=iss))
      for iss in ("", None, 1, True, "https://accounts.example.com")),
    *(Attack(f"iss {name}", FOREIGN, lambda f, change=change: f.token(claims=f.claims(iss=change(f.issuer))))
      for name, change in {
          "with a slash": lambda iss: iss + "/", "in capitals": str.upper, "with a space": lambda iss: iss + " ",
          "in a list": lambda iss: [iss], "as a prefix": lambda iss: iss + ".evil.example.com",
          "with a path": lambda iss: iss + "/realm", "in an object": lambda iss: {"iss": iss},
      }.items()),
    Attack("aud left out", *claims(aud=LEFT_OUT)),
    *(Attack(f"aud {aud!r}", *claims(aud=aud))
      for aud in ("", None, [], True, "https://other.example.com", ["https://other.example.com"], [None], {})),
    *(Attack(f"aud {name}", INVALID, lambda f, change=change: f.token(claims=f.claims(aud=change(f.issuer))))
      for name, change in {
          "with a slash": lambda aud: aud + "/", "as a prefix": lambda aud: aud[:-1],
          "in a list in a list": lambda aud: [[aud]], "in one text of two": lambda aud: f"{aud} https://other",
          "as an object's name": lambda aud: {aud: True}, "in capitals": str.upper,
      }.items()),
]  # fmt: skip

SEC_25 = [
    *(Attack(f"typ {typ!r}", *header(typ=typ))
      for typ in ("JWT", "jwt", "id_token", "logout+jwt", "dpop+jwt", "rt+jwt", "at+jwt ", "at", "application/jwt", "",
                  None, True, ["at+jwt"])),
    Attack("typ left out", *header(typ=LEFT_OUT)),
    Attack("an ID token: typ JWT, aud a client, a nonce", INVALID, lambda f: f.token(
        header=f.header(typ="JWT"), claims=f.claims(aud="some-client", nonce="n", uid=LEFT_OUT))),
]  # fmt: skip

SEC_26 = [
    *(Attack(f"crit {crit!r}", *header(FOREIGN, crit=crit, exp=1, b64=True))
      for crit in (["exp"], ["b64"], [], ["http://example.com/unknown"], None)),
    Attack("b64 false", FOREIGN, lambda f: _signed(
        f, b64url(json_bytes(f.header(b64=False, crit=["b64"]))), b64url(json_bytes(f.claims())))),
    Attack("b64 false without crit", *header(FOREIGN, b64=False)),
    Attack("zip DEF", *header(FOREIGN, zip="DEF")),
    Attack("enc", *header(FOREIGN, enc="A256GCM")),
    Attack("p2c of a billion (PBES2)", *header(FOREIGN, alg="PBES2-HS256+A128KW", enc="A128GCM", p2c=10**9, p2s="AA")),
    Attack("p2c of a billion without enc", *header(alg="PBES2-HS256+A128KW", p2c=10**9, p2s="AA")),
    *(Attack(f"cty {cty}: a token inside a token", *header(FOREIGN, cty=cty))
      for cty in ("JWT", "jwt", "application/jwt", "APPLICATION/JWT")),
    Attack("the payload is a token", FOREIGN, lambda f: compact(f.header(cty="JWT"), f.token().encode(), f.sign)),
    Attack("the payload is a token, and nothing says so", FOREIGN,
           lambda f: compact(f.header(), f.token().encode(), f.sign)),
]  # fmt: skip

SEC_27 = [
    Attack("header padded", FOREIGN, signed_parts(lambda h, p: (h + "=" * (-len(h) % 4 or 4), p))),
    Attack("payload padded", FOREIGN, signed_parts(lambda h, p: (h, p + "=" * (-len(p) % 4 or 4)))),
    Attack("signature padded", FOREIGN, lambda f: f.token() + "=="),
    Attack("header not canonical", FOREIGN, loose_header),
    Attack("payload not canonical", FOREIGN, loose_payload),
    Attack("signature not canonical", FOREIGN, loose_signature),
    Attack("signature with one sign more", FOREIGN, lambda f: f.token() + "AAA"),
    Attack("the alphabet of plain base64", FOREIGN, signed_parts(lambda h, p: (h, p + "+/A="))),
    Attack("alg twice", FOREIGN, lambda f: f.token(header=b'{"alg":"none",' + json_bytes(f.header())[1:])),
    Attack("kid twice", FOREIGN, lambda f: f.token(header=b'{"kid":"other",' + json_bytes(f.header())[1:])),
    Attack("uid twice", FOREIGN, lambda f: f.token(claims=b'{"uid":"root",' + json_bytes(f.claims())[1:])),
    Attack("exp twice", FOREIGN, lambda f: f.token(claims=b'{"exp":1,' + json_bytes(f.claims())[1:])),
    Attack("a member twice, spelt differently", FOREIGN,
           lambda f: f.token(claims=b'{"\\u0075id":"root",' + json_bytes(f.claims())[1:])),
    Attack("a member twice, further in", FOREIGN,
           lambda f: f.token(claims=b'{"a":{"b":1,"b":2},' + json_bytes(f.claims())[1:])),
    Attack("header is not UTF-8", FOREIGN, lambda f: f.token(header=b'{"x":"\xff",' + json_bytes(f.header())[1:])),
    Attack("payload is not UTF-8", FOREIGN, lambda f: f.token(claims=b'{"x":"\xc0\xaf",' + json_bytes(f.claims())[1:])),
    Attack("payload is UTF-16", FOREIGN, lambda f: f.token(claims=json.dumps(f.claims()).encode("utf-16"))),
    Attack("payload begins with a byte order mark", FOREIGN,
           lambda f: f.token(claims=b"\xef\xbb\xbf" + json_bytes(f.claims()))),
    *(Attack(f"payload {raw[:12]!r}", FOREIGN, lambda f, raw=raw: f.token(claims=raw))
      for raw in (b"", b"null", b"true", b"1", b'"text"', b"[]", b"{", b"{}}", b"{'a':1}", b"{,}", b"\x00")),
    *(Attack(f"header {raw[:12]!r}", FOREIGN, lambda f, raw=raw: f.token(header=raw))
      for raw in (b"", b"null", b"[]", b'"ES256"', b"{")),
    Attack("something after the payload's object", FOREIGN, lambda f: f.token(claims=json_bytes(f.claims()) + b"{}")),
    Attack("one part", FOREIGN, lambda f: f.token().replace(".", "")),
    Attack("two parts", FOREIGN, lambda f: ".".join(f.token().split(".")[:2])),
    Attack("four parts", FOREIGN, lambda f: f.token() + ".AAAA"),
    Attack("five parts, as a JWE has", FOREIGN, lambda f: f.token() + ".AAAA.AAAA"),
    Attack("a dot before", FOREIGN, lambda f: "." + f.token()),
    Attack("a dot after", FOREIGN, lambda f: f.token() + "."),
    Attack("two dots in a row", FOREIGN, lambda f: f.token().replace(".", "..", 1)),
    *(Attack(f"nothing but {dots!r}", FOREIGN, lambda _, dots=dots: dots) for dots in (".", "..", "...", "." * 1000)),
    Attack("a space inside", FOREIGN, lambda f: f.token().replace(".", ". ", 1)),
    Attack("a tab inside", FOREIGN, lambda f: f.token().replace(".", "\t.", 1)),
]  # fmt: skip

SEC_28 = [
    *(Attack(f"payload {depth} arrays deep", FOREIGN,
             lambda f, depth=depth: f.token(claims=b'{"a":' + nested(depth) + b"," + json_bytes(f.claims())[1:]))
      for depth in (9, 100, 2_000, 10_000)),
    Attack("payload 2000 objects deep", FOREIGN,
           lambda f: f.token(claims=b'{"a":' * 1000 + b"1" + b"}" * 1000)),
    Attack("header 2000 arrays deep", FOREIGN,
           lambda f: f.token(header=b'{"a":' + nested(2000) + b"," + json_bytes(f.header())[1:])),
    Attack("a thousand members", FOREIGN,
           lambda f: f.token(claims=f.claims(**{f"member-{n}": n for n in range(1000)}))),
    Attack("20 kB in one claim", FOREIGN, lambda f: f.token(claims=f.claims(pad="x" * 20_000))),
]  # fmt: skip

WHO = [
    Attack("sub is not uid", *claims(sub="somebody-else")),
    Attack("uid is not sub", *claims(uid="somebody-else")),
    *(Attack(f"sub and uid {value!r}", *claims(sub=value, uid=value))
      for value in (LEFT_OUT, None, "", 1, True, ["x"], {"id": "x"}, "x" * 513, "a\x00b")),
    Attack("sub and uid of half a sign", *claims(FOREIGN, sub="\ud800", uid="\ud800")),
    Attack("sub and uid of nobody", *claims("token_not_found", sub="nobody", uid="nobody")),
    *(Attack(f"jti {jti!r}", *claims(jti=jti)) for jti in (LEFT_OUT, None, "", 7, "x" * 513)),
]  # fmt: skip

ATTACKS = {
    "SEC-20": SEC_20,
    "SEC-21": SEC_21,
    "SEC-22": SEC_22,
    "SEC-23": SEC_23,
    "SEC-24": SEC_24,
    "SEC-25": SEC_25,
    "SEC-26": SEC_26,
    "SEC-27": SEC_27,
    "SEC-28": SEC_28,
    "C-05": WHO,
}


def all_attacks() -> Iterator[tuple[str, Attack]]:
    """Give every attack with the requirement that it is about."""
    for line, attacks in ATTACKS.items():
        for attack in attacks:
            yield line, attack


# What /auth/validate calls the same (C-01). Where a token has not even two dots, it is no token of ours at all.
VERDICT = {INVALID: INVALID, EXPIRED: EXPIRED, FOREIGN: INVALID, "token_not_found": "token_not_found"}


async def test_every_token_with_one_thing_wrong_is_refused(forge: Forge) -> None:
    """SEC-20 to SEC-29: with 401 and its code on a route, with the same verdict from /auth/validate, and at once."""
    with table() as row:
        for line, attack in all_attacks():
            with row(f"{line} {attack.name}"):
                await check_refused(forge, attack)


async def check_refused(forge: Forge, attack: Attack) -> None:
    token = attack.make(forge)
    started = time.perf_counter()
    answer = await forge.service.me({"Authorization": f"Bearer {token}"})
    verdict = await forge.service.validate(token)
    seconds = time.perf_counter() - started
    assert (answer.status_code, answer.json()["code"]) == (401, attack.code), answer.text
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert verdict["valid"] is False
    assert verdict["user"] is None
    expected = VERDICT[attack.code] if token.count(".") == 2 else "token_not_found"
    assert verdict["error"] == expected, verdict
    assert seconds < QUICK_SECONDS, f"it took {seconds:.2f} s"


def test_no_two_attacks_have_the_same_name() -> None:
    names = [(line, attack.name) for line, attack in all_attacks()]
    assert len(names) == len(set(names))


# --- the same helpers without an attack: nothing above is refused for the wrong reason -------------------------------


def accepted(**changes: object) -> Callable[[Forge], str]:
    return lambda f: f.token(claims=f.claims(**changes))


ACCEPTED: dict[str, Callable[[Forge], str]] = {
    "as the service signs it": lambda f: f.token(),
    "a media type in full (RFC 9068 section 4)": lambda f: f.token(header=f.header(typ="application/at+jwt")),
    "a media type in capitals (RFC 7515 section 4.1.9)": lambda f: f.token(header=f.header(typ="AT+JWT")),
    "an audience list that holds us": lambda f: f.token(claims=f.claims(aud=["https://other.example.com", f.issuer])),
    "issued three seconds ahead": lambda f: f.token(claims=f.claims(iat=int(time.time()) + 3)),
    "a date with a fraction": lambda f: f.token(claims=f.claims(exp=time.time() + 60.5)),
    "another key order and spaces": lambda f: f.token(
        claims=json.dumps(dict(reversed(f.claims().items())), indent=1).encode()
    ),
    "members nobody knows": accepted(x=1, y=[1, [2]], z={"a": None}),
    "letters written as a pair of escapes": lambda f: f.token(claims=f.claims(name="\U0001f600 Zoë")),
    "no scope": accepted(scope=LEFT_OUT),
}


async def test_every_token_with_nothing_wrong_is_accepted(forge: Forge) -> None:
    """The table above means something only if its helpers can also make good tokens."""
    with table() as row:
        for name, make in ACCEPTED.items():
            with row(name):
                token = make(forge)
                answer = await forge.service.me({"Authorization": f"Bearer {token}"})
                assert answer.status_code == 200, answer.text
                assert answer.json()["id"] == forge.person.id
                assert (await forge.service.validate(token))["valid"] is True


# --- where a token must never lead us: SEC-21 ------------------------------------------------------------------------


@pytest.fixture
def attackers_server() -> Iterator[tuple[str, list[str]]]:
    """A web server that offers the attacker's keys, and what was asked of it."""
    asked: list[str] = []
    keys = json_bytes({"keys": [{**jwk_of_the_attacker(), "kid": ATTACKER.thumbprint()}]})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(keys)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("member", ["jku", "x5u", "kid", "iss"])
async def test_no_request_follows_a_token(forge: Forge, attackers_server: tuple[str, list[str]], member: str) -> None:
    """SEC-21: an address in a token is neither fetched nor trusted (server-side request forgery)."""
    url, asked = attackers_server
    kid = ATTACKER.thumbprint()
    header = forge.header(**({"kid": kid} | ({member: url} if member != "iss" else {})))
    claims = forge.claims(**({"iss": url, "aud": url} if member == "iss" else {}))
    answer = await forge.service.me({"Authorization": f"Bearer {compact(header, claims, es256(ATTACKER))}"})
    assert answer.status_code == 401
    assert asked == []


async def test_a_key_url_in_our_token_is_ignored(forge: Forge, attackers_server: tuple[str, list[str]]) -> None:
    """SEC-21: the attacker's keys stand in the header, and the key ring decides all the same."""
    url, asked = attackers_server
    header = forge.header(jku=url, x5u=url, jwk=jwk_of_the_attacker(), x5c=["MIIB"])
    answer = await forge.service.me({"Authorization": f"Bearer {forge.token(header=header)}"})
    assert answer.status_code == 200
    assert asked == []


# --- what no header can carry ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [" {}", "{} ", "\n{}", "{}\n", "{}\r\n", "\ufeff{}", "{}\x00", "\u200b{}"])
async def test_white_space_around_a_token_is_not_trimmed(forge: Forge, change: str) -> None:
    """SEC-27: a token has one spelling."""
    verdict = await forge.service.validate(change.format(forge.token()))
    assert (verdict["valid"], verdict["error"]) == (False, "token_invalid")


@pytest.mark.parametrize("sign", ["\uff41", "é", "\x85", "\u2024", "\u0663", "\U0001d400"])
async def test_a_sign_that_looks_like_base64url_is_not(forge: Forge, sign: str) -> None:
    """SEC-27: digits and letters of other scripts, which a careless check lets through."""
    first, second, third = forge.token().split(".")
    for token in (
        f"{first}{sign}.{second}.{third}",
        f"{first}.{second}{sign}.{third}",
        f"{first}.{second}.{third}{sign}",
    ):
        verdict = await forge.service.validate(token)
        assert (verdict["valid"], verdict["error"]) == (False, "token_invalid")


@pytest.mark.parametrize("kilobytes", [9, 60, 120, 1000])
async def test_a_long_token_is_refused_quickly(forge: Forge, kilobytes: int) -> None:
    """SEC-28: 4xx, never 5xx, whatever its length; a megabyte is refused while its bytes come in."""
    token = forge.token(claims=forge.claims(pad="x" * kilobytes * 750))
    started = time.perf_counter()
    answer = await forge.service.me({"Authorization": f"Bearer {token}"})
    asked = await forge.service.client.post("/auth/validate", json={"token": token})
    assert time.perf_counter() - started < QUICK_SECONDS
    assert answer.status_code == (401 if kilobytes < 32 else 431)
    if kilobytes < 100:
        assert (asked.status_code, asked.json()["error"]) == (200, "token_invalid")
    else:
        assert asked.status_code == (422 if kilobytes < 1000 else 413)
