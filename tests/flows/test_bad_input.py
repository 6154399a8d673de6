"""Bad input: each a clear 4xx with a code, nothing half-written, never a 5xx, never a hang."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from factories import PASSWORD, Service
from idp.errors import catalogue


def body_of(**changes: Any) -> bytes:
    return json.dumps({"email": "x@example.com", "password": PASSWORD, "name": "Pat"} | changes).encode()


BAD_BODIES: dict[str, tuple[bytes, int, str]] = {
    "not JSON": (b"{", 422, "malformed_json"),
    "nothing": (b"", 422, "validation_failed"),
    "NUL": (b"\x00", 422, "malformed_json"),
    "invalid UTF-8": (b'{"email": "\xff"}', 422, "malformed_json"),
    "a lone surrogate": (rb'{"email": "\ud800@example.com"}', 422, "malformed_json"),
    "deep nesting": (b'{"x": ' + b"[" * 100_000, 422, "malformed_json"),
    "a list": (b"[]", 422, "validation_failed"),
    "a number for a text": (body_of(email=1), 422, "validation_failed"),
    "null for a text": (body_of(name=None), 422, "validation_failed"),
    "a missing member": (b'{"email": "a@example.com"}', 422, "validation_failed"),
    "no address": (body_of(email="nobody"), 422, "validation_failed"),
    "an address with NUL": (body_of(email="a\x00b@example.com"), 422, "validation_failed"),
    "an address with a line break": (body_of(email="a@example.com\nBcc: b@example.com"), 422, "validation_failed"),
    "an address of 10,000 characters": (body_of(email="a" * 10_000 + "@example.com"), 422, "validation_failed"),
    "a name of 10,000 characters": (body_of(name="n" * 10_000), 422, "validation_failed"),
    "a name with NUL": (body_of(name="a\x00b"), 422, "validation_failed"),
    "an empty name": (body_of(name=""), 422, "validation_failed"),
    "ten megabytes": (body_of(name="n" * 10_000_000), 413, "body_too_large"),
}


def check_problem(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"/errors/{code}"
    assert problem["title"] == catalogue()[code].title
    assert problem["status"] == status
    assert isinstance(problem["detail"], str)
    assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("what", BAD_BODIES)
async def test_a_bad_body_is_refused_and_writes_nothing(service: Service, what: str) -> None:
    """C-16 SEC-76."""
    body, status, code = BAD_BODIES[what]
    (before,) = await service.sql("SELECT count(*) FROM idp.users")
    answer = await service.client.post("/auth/register", content=body, headers={"Content-Type": "application/json"})
    check_problem(answer, status, code)
    if status == 422:
        assert answer.json()["errors"][0].keys() == {"loc", "msg", "type"}
    (after,) = await service.sql("SELECT count(*) FROM idp.users")
    assert before == after


async def test_old_paths_ignore_members_they_do_not_know(service: Service) -> None:
    """C-16 S4-09: clients of the old services send some."""
    body = {"email": service.new_email(), "password": PASSWORD, "name": "Pat", "device_info": {"x": [1]}, "y": None}
    assert (await service.client.post("/auth/register", json=body)).status_code == 200


async def test_another_media_type_is_refused(service: Service) -> None:
    """A form or text/plain can be sent by any web page without asking first."""
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = await service.client.post("/auth/login", content=body_of(), headers={"Content-Type": media_type})
        check_problem(answer, 415, "unsupported_media_type")


async def test_unknown_paths_and_methods_are_problems_with_security_headers(service: Service) -> None:
    """S4-46: on 404 and 405 too."""
    for method, path, status, code in (
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/teams/%00", 404, "not_found"),
        ("GET", "/..%2f..%2fetc/passwd", 404, "not_found"),
        ("GET", "/docs/assets/..%2f..%2froutes.py", 404, "not_found"),
        ("PUT", "/auth/login", 405, "method_not_allowed"),
        ("POST", "/auth/me", 405, "method_not_allowed"),
    ):
        answer = await service.client.request(method, path)
        check_problem(answer, status, code)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers
    for method in ("PUT", "OPTIONS"):
        allow = (await service.client.request(method, "/auth/login")).headers["allow"]
        assert set(allow.split(", ")) == {"OPTIONS", "POST"}


async def test_a_request_id_is_kept_where_it_is_safe_to_repeat(service: Service) -> None:
    kept = await service.client.get("/healthz", headers={"X-Request-Id": "abc-123"})
    assert kept.headers["x-request-id"] == "abc-123"
    for odd in ("a" * 65, "<script>", "a b", "é"):
        made = await service.client.get("/healthz", headers={"X-Request-Id": odd.encode()})
        assert made.headers["x-request-id"] != odd
        assert len(made.headers["x-request-id"]) == 36


async def raw(service: Service, *chunks: bytes, wait: float = 5.0) -> bytes:
    """Send bytes as they are and return all that comes back."""
    host, port = service.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = b""
    try:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        async with asyncio.timeout(wait):
            while part := await reader.read(65536):
                answer += part
    except (ConnectionResetError, BrokenPipeError, TimeoutError):
        pass
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return answer


async def test_large_headers_are_431(service: Service) -> None:
    """100 kB in one header, in many, in the path, and without end."""
    long = b"x" * 100_000
    for request in (
        b"GET /auth/me HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer " + long + b"\r\n\r\n",
        b"GET /auth/me HTTP/1.1\r\nhost: a\r\nconnection: close\r\n" + b"x-y: zzzzzzzzzz\r\n" * 6_000 + b"\r\n",
        b"GET /auth/me HTTP/1.1\r\nhost: a\r\nx-endless: " + b"x" * 400_000,
    ):
        answer = await raw(service, request)
        assert answer.startswith(b"HTTP/1.1 431 "), answer[:200]
        assert b'"code":"headers_too_large"' in answer
        assert b"x-content-type-options: nosniff" in answer


async def test_bytes_that_are_not_http_are_400(service: Service) -> None:
    for garbage in (b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nx y: z\r\n\r\n"):
        answer = await raw(service, garbage)
        assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
        assert b'"code":"bad_request"' in answer


async def test_a_body_that_never_arrives_is_408(service: Service) -> None:
    """Never a hang: server.body_timeout_seconds, shortened here."""
    from factories import running

    environ = {"IDP_SERVER__BODY_TIMEOUT_SECONDS": "0.3"}
    async with running(service.database_url, environ=environ, migrate=False) as impatient:
        head = b"POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"
        answer = await raw(impatient, head)
    assert answer.startswith(b"HTTP/1.1 408 "), answer[:200]
    assert b'"code":"request_timeout"' in answer


async def test_a_token_of_a_deleted_user_is_refused(service: Service) -> None:
    """SEC-19: disabled, soft-deleted, or gone altogether."""
    for statement in (
        "UPDATE idp.users SET is_active = false WHERE id = $1",
        "UPDATE idp.users SET deleted_at = now() WHERE id = $1",
        "DELETE FROM idp.users WHERE id = $1",
    ):
        person = await service.register()
        await service.sql(statement, person.id)
        answer = await service.me(person.bearer)
        assert answer.status_code == 401
        assert answer.json()["code"] in {"user_inactive", "token_revoked"}
        assert (await service.validate(person.token))["valid"] is False


async def test_a_deleted_users_address_is_free_again(service: Service) -> None:
    """C-13: unique among live rows."""
    person = await service.register()
    await service.sql("UPDATE idp.users SET deleted_at = now() WHERE id = $1", person.id)
    again = await service.register(person.email)
    assert again.id != person.id


async def test_every_code_has_a_page(service: Service) -> None:
    """The `type` of every problem leads to a page that says what to do."""
    for code, error in catalogue().items():
        page = await service.client.get(f"/errors/{code}")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert code in page.text
        for other in ("title", "remedy"):
            assert getattr(error, other)[:30].replace("`", "") in page.text.replace("`", "").replace("&#39;", "'"), code
    listed = await service.client.get("/errors")
    assert all(f'href="/errors/{code}"' in listed.text for code in catalogue())
    check_problem(await service.client.get("/errors/no_such_code"), 404, "not_found")
