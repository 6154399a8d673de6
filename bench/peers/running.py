"""Installs peers concurrently and starts them on the server's core."""

import secrets
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from bench import server as servers
from bench.peers.install import NotInstalled, Peer
from bench.server import DidNotStart, Server
from bench.stores import Stores
from bench.traffic import Request, Traffic


class Ready(msgspec.Struct):
    requests: dict[str, Request | list[Request]]


class RunningPeer(msgspec.Struct, frozen=True):
    """A running peer and its requests."""

    server: Server
    version: str
    traffic: dict[str, Traffic]


Installation = Future[tuple[list[str], str]]
Installed = dict[Peer, Installation]


def begin_installing(peers: Sequence[Peer], folder: Path, pool: ThreadPoolExecutor) -> Installed:
    """Start installing all peers concurrently, each into its own folder."""
    started: Installed = {}
    for peer in peers:
        own = folder / peer.name
        own.mkdir()
        started[peer] = pool.submit(peer.install, own)
    return started


def start(peer: Peer, installation: Installation, stores: Stores, folder: Path, *, core: int) -> RunningPeer | str:
    """Start a peer, or return why it is missing. Call it from the main thread."""
    try:
        argv, version = installation.result()
        return _start(peer, argv, version, stores, folder, core)
    except (NotInstalled, DidNotStart) as error:
        return str(error)


def _start(peer: Peer, argv: list[str], version: str, stores: Stores, folder: Path, core: int) -> RunningPeer:
    port = servers.free_port()
    env = {
        "NODE_ENV": "production",
        "DATABASE_URL": stores.database(peer.name),
        "VALKEY_URL": stores.valkey_url(),
        "BENCH_SECRET": secrets.token_urlsafe(32),
    }
    server = servers.launch(peer.name, [*argv, str(port)], port=port, core=core, env=env, folder=folder / peer.name)
    server.wait(servers.is_ready)
    ready = msgspec.json.decode(server.ready_message() or b"{}", type=Ready)
    return RunningPeer(server, version, {name: _traffic(request) for name, request in ready.requests.items()})


def _traffic(request: Request | list[Request]) -> Traffic:
    """Return one request to repeat, or a list of requests that are sent once."""
    return Traffic(request, once=True) if isinstance(request, list) else Traffic([request])
