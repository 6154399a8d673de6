"""The embedded Valkey."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import valkey

from idp.dev.embedded import EmbeddedError, EmbeddedValkey


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as running:
        yield running


def test_the_client_library_understands_its_address(server: EmbeddedValkey) -> None:
    with valkey.Valkey.from_url(server.url) as client:
        assert client.set("greeting", "hello")
        assert client.get("greeting") == b"hello"


def test_it_listens_on_loopback_only_and_saves_nothing(server: EmbeddedValkey) -> None:
    with valkey.Valkey.from_url(server.url, decode_responses=True) as client:
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        assert client.config_get("save")["save"] == ""
        assert client.config_get("appendonly")["appendonly"] == "no"


def test_a_restart_keeps_the_address_and_forgets_the_data(server: EmbeddedValkey) -> None:
    url = server.url
    with valkey.Valkey.from_url(url) as client:
        client.set("gone", "1")
        server.stop()
        server.start()
        assert server.url == url
        assert client.get("gone") is None


def test_a_paused_server_is_silent_until_it_is_resumed(server: EmbeddedValkey) -> None:
    server.pause()
    with valkey.Valkey.from_url(server.url, socket_timeout=0.2, retry=None) as client:
        with pytest.raises(valkey.exceptions.TimeoutError):
            client.ping()
        server.resume()
        assert client.ping()


def test_stopping_leaves_no_process_even_when_paused() -> None:
    server = EmbeddedValkey()
    server.start()
    server.pause()
    server.stop()
    server.stop()
    assert server.process.poll() is not None


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"Port {port} on 127.0.0.1 cannot be used"):
            EmbeddedValkey(port=port).start()


def test_a_wanted_port_is_used(server: EmbeddedValkey) -> None:
    port = urlsplit(server.url).port
    server.stop()
    with EmbeddedValkey(port=port) as other:
        assert urlsplit(other.url).port == port
    server.start()
