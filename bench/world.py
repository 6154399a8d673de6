"""The environment of a run: starts the stores immediately, and servers on first use."""

import os
import sys
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from bench import population, server, service, stores
from bench.peers import running
from bench.peers.install import PEERS
from bench.peers.running import RunningPeer
from bench.population import Person
from bench.server import Server
from bench.service import Deployment


class World:
    """The stores, servers and credentials; leaving the `with` block stops and removes everything.

    Args:
        peers: peers to install.
        new_requests: number of once-only credentials per scenario.
        say: prints a status message.
    """

    def __init__(self, peers: Collection[str], *, new_requests: int, say: Callable[[str], None]) -> None:
        self.new_requests = new_requests
        self.say = say
        self._wanted = [peer for peer in PEERS if peer.name in peers]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start the stores on the load's core, which `wrk` and this process also use, and install peers meanwhile."""
        cores = sorted(os.sched_getaffinity(0))
        self.server_core, self.load_core = cores[0], cores[-1]
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(TemporaryDirectory(prefix="idp-bench-")))
            pool = stack.enter_context(ThreadPoolExecutor())
            self.say("installing peers …" if self._wanted else "no peers")
            installed = running.begin_installing(self._wanted, self.folder, pool)
            stack.callback(os.sched_setaffinity, 0, set(cores))
            os.sched_setaffinity(0, {self.load_core})
            self.stores = stack.enter_context(stores.running())
            self.deployment: Deployment = service.deploy(self.stores)
            self._stack = stack.pop_all()
            self.peers: list[RunningPeer] = []
            self.missing: dict[str, str] = {}
            self._start_peers(installed)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start_peers(self, installed: running.Installed) -> None:
        for peer, installation in installed.items():
            started = running.start(peer, installation, self.stores, self.folder, core=self.server_core)
            if isinstance(started, str):
                self.missing[peer.name] = started
                self.say(f"{peer.name}: not installed ({started})")
            else:
                self._stack.callback(started.server.stop)
                self.peers.append(started)

    def _stop_at_exit(self, started: Server) -> Server:
        self._stack.callback(started.stop)
        return started

    # --- servers -----------------------------------------------------------------------------------------------------

    @cached_property
    def ceiling(self) -> Server:
        """The bare ASGI application."""
        port = server.free_port()
        argv = [sys.executable, str(Path(__file__).with_name("ceiling.py")), str(port)]
        started = server.launch("ceiling", argv, port=port, core=self.server_core, env={}, folder=self.folder)
        return self._stop_at_exit(started).wait(server.listens)

    def _service(self, name: str, **settings: str) -> Server:
        return self._stop_at_exit(
            service.start(self.deployment, self.folder, core=self.server_core, name=name, settings=settings)
        )

    @cached_property
    def idp(self) -> Server:
        """The service with default settings, except for high rate limits."""
        return self._service("idp", **service.no_limits())

    @cached_property
    def small_cache(self) -> Server:
        """The service with the smallest memory cache, so that requests in turn are never found there."""
        return self._service("idp-small_cache", IDP_AUTHN__CACHE_ENTRIES="100", **service.no_limits())

    @cached_property
    def limited(self) -> Server:
        """The service with the default rate limits."""
        return self._service("idp-limited")

    # --- credentials -------------------------------------------------------------------------------------------------

    @cached_property
    def person(self) -> Person:
        """A user with an access token."""
        return Person(self.idp.base_url)

    @cached_property
    def token(self) -> dict[str, Any]:
        """A service token."""
        return population.service_token(self.idp.base_url, "read", "write")

    @cached_property
    def introspector(self) -> dict[str, str]:
        """The header with a service token for introspection."""
        created = population.service_token(self.idp.base_url, "idp:introspect")
        return {"authorization": f"Bearer {created['token']}"}
