"""What `idp serve` logs about its settings at start."""

from typing import Any

from idp.deployment import public_url
from idp.settings import LoadedSettings, ineffective_settings, unknown_variables, unused_variables


def log_warnings(log: Any, loaded: LoadedSettings) -> None:
    """Log what an operator should know of these settings."""
    if loaded.settings.server.public_url is None:
        log.warning("IDP_PUBLIC_URL is not set; tokens use this issuer", issuer=public_url(loaded.settings))
    server, valkey = loaded.settings.server, loaded.settings.valkey
    if server.workers > 1 and valkey.url is None:
        log.warning(
            "VALKEY_URL is not set: each worker counts rate limits by itself, so that up to so many times as many "
            "attempts are possible; set VALKEY_URL, or server.workers to 1",
            times=server.workers,
        )
    for sentence in [*unknown_variables(), *unused_variables(), *ineffective_settings(loaded.settings)]:
        log.warning(sentence)
