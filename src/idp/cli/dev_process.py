"""One server process of `idp dev`: shared setup, and the entry point of additional processes."""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from idp.app import Application
    from idp.settings import LoadedSettings

SHUTDOWN_TIMEOUT = 2  # seconds for running requests at Ctrl-C


def load_development(overrides: Mapping[str, Any]) -> "LoadedSettings":
    """Build the settings of `idp dev`."""
    from idp.settings import load

    return load("development", overrides=overrides)


def build(loaded: "LoadedSettings", *, quiet: bool = True) -> "Application":
    """Build the application with the development-only authenticators and pages (rule 7).

    Args:
        loaded: the settings of `load_development`.
        quiet: do not print a line for each request.
    """
    from idp.app import create_app
    from idp.core import Core
    from idp.dev import upstream_issuer
    from idp.dev.clerk_instance import ClerkInstance
    from idp.dev.clerk_store import read_state
    from idp.dev.dev_headers import DevHeaders
    from idp.dev.home_routes import HomePlugin
    from idp.dev.mailbox import Mailbox
    from idp.dev.plugin import ClerkStandInPlugin, MailboxPlugin, UpstreamPlugin
    from idp.dev.request_lines import print_request
    from idp.development import Development
    from idp.ops import logging
    from idp.plugin import Plugin

    logging.configure(loaded.settings.logging)
    settings = loaded.settings

    def dev_headers(core: Core) -> DevHeaders:
        return DevHeaders(core.database, settings.accounts, in_container=settings.dev.in_container)

    def mailbox(core: Core) -> MailboxPlugin:
        return MailboxPlugin(Mailbox(core.database, core.sealer))

    features: tuple[Callable[[Core], Plugin], ...] = (mailbox, HomePlugin)
    if settings.dev.clerk_file is not None:
        file, issuer = Path(settings.dev.clerk_file), settings.clerk.issuer or ""
        features += (lambda _core: ClerkStandInPlugin(lambda: ClerkInstance(issuer, read_state(file))),)
    upstream = upstream_issuer.find(settings)
    if upstream is not None:
        features += (lambda _core: UpstreamPlugin(upstream),)
    authenticators = (dev_headers,) if settings.authn.allow_dev_headers else ()
    return create_app(
        loaded,
        Development(authenticators, features, keeps_mail=True, observe=None if quiet else print_request),
    )


def main() -> None:
    """Serve on the inherited socket (its number is the argument), with the settings from stdin.

    The second argument may be `--quiet`: do not print requests.
    """
    from idp.cli.server import run, until_stopped

    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: end with the first process
        if os.getppid() != parent:
            return
    with until_stopped():
        loaded = load_development(msgspec.json.decode(sys.stdin.buffer.read(), type=dict[str, Any]))
        listener = socket.socket(fileno=int(sys.argv[1]))
        run(
            build(loaded, quiet="--quiet" in sys.argv),
            loaded.settings.server,
            listener,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
        )


if __name__ == "__main__":
    main()
