"""Internals of libraries that the service relies on: an upgrade that changes them fails here first."""

import inspect
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

ROOT = Path(__file__).parents[1]
# `ops/http_protocol.py` overrides these methods and calls uvicorn's.
OVERRIDDEN = {
    "connection_made": ["transport"],
    "connection_lost": ["exc"],
    "data_received": ["data"],
    "on_header": ["name", "value"],
    "on_headers_complete": [],
    "on_message_complete": [],
    "on_response_complete": [],
    "pause_writing": [],
    "resume_writing": [],
    "send_400_response": ["msg"],
    "_start_asgi_task": ["cycle", "app"],
}
# It reads and sets these attributes of a connection and of a request.
OF_CONNECTION = {"transport", "loop", "client", "flow", "pipeline", "url", "cycle"}
OF_REQUEST = {
    "response_started", "response_complete", "waiting_for_100_continue", "disconnected", "keep_alive", "flow",
    "transport", "message_event", "default_headers", "on_response", "more_body",
}  # fmt: skip


def attributes(of: type) -> set[str]:
    """Return the names that the class assigns to `self`."""
    return set(re.findall(r"self\.(\w+)(?:: [^=\n]+)? = ", inspect.getsource(of)))


@pytest.mark.parametrize(("method", "parameters"), OVERRIDDEN.items(), ids=list(OVERRIDDEN))
def test_uvicorn_has_the_methods_that_are_overridden(method: str, parameters: list[str]) -> None:
    signature = inspect.signature(getattr(HttpToolsProtocol, method))
    assert list(signature.parameters) == ["self", *parameters]


def test_uvicorn_has_the_attributes_that_are_used() -> None:
    assert attributes(HttpToolsProtocol) >= OF_CONNECTION
    assert attributes(RequestResponseCycle) >= OF_REQUEST
    assert {"read_paused", "write_paused"} <= attributes(FlowControl)
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"


def test_the_send_of_asgi_is_a_bound_method_of_the_request() -> None:
    """`answer_at_once` finds the request by it."""
    assert "self.send" in inspect.getsource(RequestResponseCycle.run_asgi)


def test_sqlalchemy_has_the_statement_cache_that_a_pooler_turns_off() -> None:
    """`db/engine.py` sets it to None; SQLAlchemy then prepares each statement without a name of its own."""
    assert "_prepared_statement_cache" in attributes(AsyncAdapt_asyncpg_connection)


@pytest.mark.parametrize("library", ["uvicorn", "sqlalchemy"])
def test_a_library_that_is_used_from_inside_has_an_upper_bound(library: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (requirement,) = [each for each in project["dependencies"] if each.startswith(library)]
    (bound,) = re.findall(r"<(\d+)\.(\d+)", requirement)
    major, minor = version(library).split(".")[:2]
    assert (int(major), int(minor)) < (int(bound[0]), int(bound[1])), requirement
    assert (int(major), int(minor)) == (int(bound[0]), int(bound[1]) - 1), "the bound admits the tested series alone"
