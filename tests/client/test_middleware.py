"""The gate and the middleware: one decision a request, whole applications, WebSockets, and configuration errors."""

from typing import Any

import pytest

from client.client_support import Issuer, Reply, answering, bearer, serving
from idp_client import (
    AuthClient,
    AuthMiddleware,
    AuthUnavailable,
    Caller,
    Gate,
    InsufficientScopes,
    TokenRejected,
    authenticated,
)
from idp_client.asgi import authentication_of
from idp_client.caller import Absent, Authenticated, Rejected, Unavailable
from idp_client.errors import AmbiguousCredentials
from signing.forgery import LEFT_OUT, json_bytes

GOOD = Reply(body=json_bytes({"valid": True, "scopes": ["read"], "kind": "service_token", "name": "n"}))


def headers(**names: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), text.encode("latin-1")) for name, text in names.items()]


def scope(kind: str = "http", **more: Any) -> dict[str, Any]:
    return {"type": kind, "path": "/", "headers": [], **more}


async def call(app: Any, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Call an ASGI application, and return what it sent."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(given, receive, send)
    return sent


async def empty(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_a_request_has_one_of_four_outcomes(issuer: Issuer) -> None:
    """Rule 1: absent, authenticated, rejected, unavailable; never None, never a bool."""
    gate = Gate(offline=issuer.verifier())
    assert await gate.decide([]) == Absent()
    assert isinstance(await gate.decide(headers(authorization=f"Bearer {issuer.token()}")), Authenticated)
    assert isinstance(await gate.decide(headers(x_api_key=issuer.token())), Authenticated)
    rejected = await gate.decide(headers(authorization="Bearer rubbish"))
    assert isinstance(rejected, Rejected)
    assert isinstance(rejected.error, TokenRejected)
    rejected = await gate.decide(headers(authorization="Bearer a", x_api_key="b"))
    assert isinstance(rejected, Rejected)
    assert isinstance(rejected.error, AmbiguousCredentials)
    issuer.server.stop()
    assert isinstance(await Gate(offline=issuer.verifier()).decide(headers(x_api_key=issuer.token())), Unavailable)


async def test_headers_count_in_any_case_and_the_scheme_too(issuer: Issuer) -> None:
    """RFC 9110 sections 5.1 and 11.1."""
    gate = Gate(offline=issuer.verifier())
    token = issuer.token()
    for raw in ((b"Authorization", f"bearer {token}"), (b"AUTHORIZATION", f"BEARER  {token} "), (b"X-Api-Key", token)):
        assert isinstance(await gate.decide([(raw[0], raw[1].encode())]), Authenticated)


async def test_the_issuers_own_tokens_are_never_validated_online(issuer: Issuer) -> None:
    """Whoever owns the credential decides: a token that fails offline gets no second chance online."""
    with answering(lambda _: GOOD) as server:
        online = AuthClient(server.url)
        gate = Gate(offline=issuer.verifier(), online=online, service_name="billing")
        for token in (issuer.token(aud="other"), issuer.token()[:-4] + "AAAA", issuer.token(header={"alg": "none"})):
            assert isinstance(await gate.decide(headers(x_api_key=token)), Rejected)
        assert server.asked == []
        # Without `iss` it may be signed with a shared secret (C-06b), which only the service knows.
        for token in (issuer.token(iss=LEFT_OUT), issuer.token(iss="https://other.example.com"), "sk_live_x"):
            assert isinstance(await gate.decide(headers(x_api_key=token), "/echo"), Authenticated)
        assert [b'"service_name":"billing","action_name":"/echo"' in asked.body for asked in server.asked] == [True] * 3
        await online.close()


async def test_a_request_is_decided_once_however_many_ask() -> None:
    """A revocation between two looks must not split one request in two."""

    async def asks_thrice(given: Any, receive: Any, send: Any) -> None:
        authentication = authentication_of(given)
        assert await authentication.caller() is await authentication.require(["read"])
        assert isinstance(await authentication.outcome(), Authenticated)
        await empty(given, receive, send)

    with answering(lambda _: GOOD) as server:
        async with AuthClient(server.url) as online:
            app = AuthMiddleware(asks_thrice, Gate(online=online))
            sent = await call(app, scope(headers=headers(x_api_key="sk_live_x")))
        assert sent[0]["status"] == 204
        assert len(server.asked) == 1


async def test_a_whole_application_can_be_closed(issuer: Issuer) -> None:
    """Rule 6, default deny: with `required_scopes` nothing behind the middleware is reached without them."""
    for required, status in (((), 204), (("read",), 204), (("read", "admin"), 403)):
        app = AuthMiddleware(empty, Gate(offline=issuer.verifier()), required_scopes=required)
        async with serving(app) as http:
            assert (await http.get("/any", headers=bearer(issuer.token()))).status_code == status
            assert (await http.get("/any")).status_code == 401
            assert (await http.options("/any")).status_code == 401


async def test_anonymous_requests_are_allowed_where_both_are_served(issuer: Issuer) -> None:
    """`caller()` is None without a credential; an invalid one is 401."""

    async def greets(given: Any, receive: Any, send: Any) -> None:
        given["greeted"] = await authentication_of(given).caller()
        await empty(given, receive, send)

    app = AuthMiddleware(greets, Gate(offline=issuer.verifier()))
    guest, known, bad = scope(), scope(headers=headers(x_api_key=issuer.token())), scope(headers=headers(x_api_key="x"))
    statuses = [(await call(app, given))[0]["status"] for given in (guest, known, bad)]
    assert statuses == [204, 204, 401]
    assert guest["greeted"] is None
    assert known["greeted"].user.id == "user-1"
    assert "greeted" not in bad


@pytest.mark.parametrize(("credential", "close"), [(None, 1008), ("rubbish", 1008), ("away", 1013)])
async def test_a_websocket_is_refused_before_it_opens(issuer: Issuer, credential: str | None, close: int) -> None:
    """RFC 6455 section 7.4.1; with the ASGI extension, the same problem document as over HTTP."""
    given = headers(authorization=f"Bearer {issuer.token() if credential == 'away' else credential}")
    if credential == "away":
        issuer.server.stop()
    app = AuthMiddleware(empty, Gate(offline=issuer.verifier()), required_scopes=())
    plain = await call(app, scope("websocket", headers=given if credential else []))
    assert [(message["type"], message["code"]) for message in plain] == [("websocket.close", close)]
    extended = scope("websocket", headers=given if credential else [], extensions={"websocket.http.response": {}})
    start, body = await call(app, extended)
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == (503 if credential == "away" else 401)
    assert body["type"] == "websocket.http.response.body"


async def test_a_websocket_with_a_good_token_reaches_the_application(issuer: Issuer) -> None:
    async def accepts(given: Any, _receive: Any, send: Any) -> None:
        assert (await authentication_of(given).require(["read"])).kind == "user"
        await send({"type": "websocket.accept"})

    app = AuthMiddleware(accepts, Gate(offline=issuer.verifier()))
    sent = await call(app, scope("websocket", headers=headers(x_api_key=issuer.token())))
    assert sent == [{"type": "websocket.accept"}]


async def test_an_answer_that_has_begun_is_not_answered_twice(issuer: Issuer) -> None:
    async def begins(given: Any, receive: Any, send: Any) -> None:
        await empty(given, receive, send)
        await authentication_of(given).require()

    with pytest.raises(Exception, match="Unauthorized"):
        await call(AuthMiddleware(begins, Gate(offline=issuer.verifier())), scope())


def test_scopes_are_plain_membership() -> None:
    """S2-19: all of them must be held, exactly; `admin` implies nothing, and no scope is a part of another."""
    caller = Caller(kind="service_token", scopes=("admin", "read:all", "write"), source="online")
    caller.require([])
    caller.require(["write", "admin"])
    for required in (["read"], ["read:"], ["write", "read"], ["Admin"], ["*"], [""]):
        with pytest.raises(InsufficientScopes):
            caller.require(required)


async def test_other_scopes_pass_untouched(issuer: Issuer) -> None:
    seen: list[Any] = []

    async def lifespan(given: Any, _receive: Any, _send: Any) -> None:
        seen.append(given)

    await call(AuthMiddleware(lifespan, Gate(offline=issuer.verifier()), required_scopes=()), {"type": "lifespan"})
    assert seen == [{"type": "lifespan"}]


async def test_a_missing_middleware_admits_no_request() -> None:
    """Fail closed, and say what to do."""
    with pytest.raises(RuntimeError, match=r"add idp_client\.AuthMiddleware"):
        authentication_of(scope())

    @authenticated()
    async def handler(number: int) -> int:
        return number

    with pytest.raises(RuntimeError, match="must get its request"):
        await handler(1)


def test_a_gate_without_a_way_to_decide_does_not_start() -> None:
    with pytest.raises(ValueError, match="offline, online, or both"):
        Gate()


async def test_no_credential_reaches_the_log(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    """Style 5: secrets in no log; the reasons are there."""
    token = issuer.token(aud="https://other.example.com")
    with caplog.at_level("DEBUG"):
        await Gate(offline=issuer.verifier()).decide(headers(x_api_key=token))
        async with AuthClient("http://127.0.0.1:9") as online:
            with pytest.raises(AuthUnavailable):
                await online.validate_token(token)
            await Gate(online=online).decide(headers(x_api_key=token))
    assert "another audience" in caplog.text
    assert "credential cannot be verified" in caplog.text
    assert not any(part in caplog.text for part in token.split(".")[1:])
