"""Access to /metrics in production, and labels that reveal no account."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import httpx2

from factories import Service, prepare, root_secret, running
from flows.mail_support import mails
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import load


async def test_production_metrics_need_the_token(postgres: EmbeddedPostgres) -> None:
    token = root_secret()
    environ = {"METRICS_TOKEN": token}
    async with running(postgres.create_database("metrics_token"), profile="production", environ=environ) as service:
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {token}"}, {"X-API-Key": token}):
            answer = await service.client.get("/metrics", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "metrics_token_required"), headers
            assert answer.headers["www-authenticate"] == "Bearer"
        answer = await service.client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_the_public_port_serves_no_metrics_without_a_token(production: Service) -> None:
    answer = await production.client.get("/metrics", headers={"Authorization": "Bearer"})
    assert answer.status_code == 401
    assert "METRICS_TOKEN" in answer.json()["remedy"]


async def test_development_metrics_are_open_and_name_their_charset_once(service: Service) -> None:
    answer = await service.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_listener_of_its_own_answers_metrics_alone(postgres: EmbeddedPostgres) -> None:
    """`idp serve` as an operator starts it, with IDP_METRICS_PORT."""
    url, port, metrics_port = postgres.create_database("metrics_port"), free_port(), free_port()
    variables = {"DATABASE_URL": url, "IDP_SECRET_KEY": root_secret(), "IDP_PUBLIC_URL": "https://id.example.com"}
    await prepare(load("production", environ=variables))
    environ = {"PATH": os.environ["PATH"], **variables, "IDP_METRICS_PORT": str(metrics_port), "PORT": str(port)}
    command = [sys.executable, "-m", "idp.cli.main", "serve", "--host", "127.0.0.1"]
    process = subprocess.Popen(  # noqa: ASYNC220
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        async with httpx2.AsyncClient(timeout=5) as client:
            async with asyncio.timeout(30):
                while True:
                    with suppress(httpx2.ConnectError):
                        answer = await client.get(f"http://127.0.0.1:{metrics_port}/metrics")
                        break
                    assert process.poll() is None, process.communicate()
                    await asyncio.sleep(0.1)
            assert answer.status_code == 200
            assert b"auth_request_total" in answer.content
            own, public = f"http://127.0.0.1:{metrics_port}", f"http://127.0.0.1:{port}"
            assert (await client.get(f"{own}/healthz")).status_code == 200
            for path in ("/", "/health", "/auth/me", "/docs", "/.well-known/jwks.json"):
                assert (await client.get(own + path)).status_code == 404, path
            assert (await client.get(f"{public}/metrics")).status_code == 401
            assert (await client.get(f"{public}/health")).status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


async def test_two_scrapes_do_not_tell_whether_an_address_had_an_account(postgres: EmbeddedPostgres) -> None:
    """The mail to a new address and the one to an old one are counted alike."""
    async with running(postgres.create_database("two_scrapes")) as service:
        known = await service.register()

        async def told_by(email: str) -> set[str]:
            before = labels((await service.client.get("/metrics")).text)
            body = {"email": email, "password": "correct horse battery", "name": "X"}
            await service.client.post("/api/auth/email/register", json=body)
            async with asyncio.timeout(10):
                while not await mails(service, email):  # noqa: ASYNC110  the mailbox is read over HTTP
                    await asyncio.sleep(0.05)
            return labels((await service.client.get("/metrics")).text) - before

        first, second = await told_by(known.email), await told_by(service.new_email())
        assert not any("template" in each or "already" in each for each in first | second)


def labels(text: str) -> set[str]:
    return {match[0] for match in re.findall(r"^(idp_mail_total\{[^}]*\})( .*)$", text, re.MULTILINE)}
