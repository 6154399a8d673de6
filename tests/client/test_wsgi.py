"""The adapters for Flask and Django: every kind of view is protected before its code runs."""

import asyncio
import json
from typing import Any

import django
import flask
import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncRequestFactory, RequestFactory
from django.views import View

from client.client_support import Issuer, bearer
from idp_client import SyncGate
from idp_client import django as for_django
from idp_client import flask as for_flask
from idp_client.wsgi import authenticate

RAN: list[str] = []


@pytest.fixture
def gate(issuer: Issuer) -> SyncGate:
    return SyncGate(offline=issuer.verifier())


def flask_app(gate: SyncGate) -> flask.Flask:
    app = flask.Flask("guarded")

    @app.get("/plain")
    @for_flask.requires_scopes()
    def plain() -> dict[str, str]:
        RAN.append("plain")
        return {"user": for_flask.current_caller().user.id}  # type: ignore[union-attr]

    @app.get("/async")
    @for_flask.requires_scopes()
    async def asynchronous() -> dict[str, str]:
        RAN.append("async")
        await asyncio.sleep(0)
        return {"user": for_flask.current_caller().user.id}  # type: ignore[union-attr]

    @app.get("/stream")
    @for_flask.requires_roles("admin")
    def stream() -> Any:
        RAN.append("stream")
        yield "secret"

    for_flask.init_app(app, gate)
    return app


@pytest.mark.parametrize("path", ["/plain", "/async", "/stream"])
def test_flask_refuses_before_the_view_runs(gate: SyncGate, issuer: Issuer, path: str) -> None:
    """Functions, coroutines and generators; no credential, a bad one, and two."""
    client, good = flask_app(gate).test_client(), issuer.token()
    RAN.clear()
    for headers, status in (
        ({}, 401),
        (bearer("x.y.z"), 401),
        (bearer(good) | {"X-API-Key": "another"}, 400),
        (bearer(f"{good},Bearer {good}"), 401),
    ):
        answer = client.get(path, headers=headers)
        assert answer.status_code == status
        assert answer.content_type == "application/problem+json"
    assert RAN == []


@pytest.mark.parametrize("path", ["/plain", "/async"])
def test_flask_runs_views_of_both_kinds(gate: SyncGate, issuer: Issuer, path: str) -> None:
    answer = flask_app(gate).test_client().get(path, headers=bearer(issuer.token()))
    assert answer.status_code == 200
    assert answer.get_json()["user"]


@for_django.requires_scopes()
def plain_view(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": for_django.current_caller(request).user.id})  # type: ignore[union-attr]


class AsynchronousView(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return JsonResponse({"user": for_django.current_caller(request).user.id})  # type: ignore[union-attr]


async def test_django_guards_asynchronous_classes(gate: SyncGate, issuer: Issuer) -> None:
    """A class of asynchronous handlers is awaited, and the check leaves the event loop."""
    if not settings.configured:
        settings.configure(DEBUG=False, ALLOWED_HOSTS=["*"])
        django.setup()
    view = for_django.requires_scopes()(AsynchronousView.as_view())
    for make, guarded in ((AsyncRequestFactory().get, view), (RequestFactory().get, plain_view)):
        request = make("/")
        request.idp_authentication = authenticate(gate, {"HTTP_AUTHORIZATION": bearer(issuer.token())["Authorization"]})
        answer = guarded(request)
        answer = await answer if asyncio.iscoroutine(answer) else answer
        assert json.loads(answer.content)["user"]
