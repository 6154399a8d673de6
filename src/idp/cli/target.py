"""URL and credential of a command's service, from options, the environment, or a running `idp dev`."""

from urllib.parse import urlsplit

from msgspec import Struct

from idp.cli.dev_discovery import RunningDev, find_running_dev
from idp.cli.failure import BadInput, Refused
from idp.cli.http import is_loopback
from idp.cli.notices import remark
from idp.settings import ClientSettings, Secret, client_settings

DEFAULT_PORT = 8000


class Target(Struct, frozen=True):
    """A URL without a trailing slash, and the credential headers."""

    url: str
    headers: dict[str, str]

    def __repr__(self) -> str:
        return f"Target({self.url})"


def for_management(url: str | None) -> Target:
    """Return the target for management: with ADMIN_TOKEN, or the token of the running `idp dev`.

    Args:
        url: the option `--url`.

    Raises:
        BadInput: the URL is invalid.
    """
    given = client_settings()
    if given.admin_token is not None:
        return Target(checked(url or given.url or _default(given)), _bearer(given.admin_token, "ADMIN_TOKEN"))
    where, dev = _with_dev(url or given.url, given)
    return Target(where, _bearer(dev.token, "ADMIN_TOKEN") if dev else {})


def for_person(url: str | None, email: str | None) -> Target:
    """Return the target to act as a user: with IDP_TOKEN, or dev headers.

    Args:
        url: the option `--url`.
        email: the option `--as`; None for the user of IDP_TOKEN.

    Raises:
        BadInput: the URL is invalid, or `--as` is used for a service on another machine.
        Refused: there is no credential.
    """
    given = client_settings()
    if email is None and given.access_token is not None:
        return Target(checked(url or given.url or _default(given)), _bearer(given.access_token, "IDP_TOKEN"))
    where, _ = _with_dev(url or given.url, given)
    if email is None:
        raise Refused(
            f"Not signed in to {where}: set IDP_TOKEN to an access token (POST /auth/login returns one), "
            "or use --as EMAIL with `idp dev` on this machine."
        )
    if not is_loopback(where):
        raise BadInput(f"--as works only with `idp dev` on this machine, not with {where}: use IDP_TOKEN.")
    return Target(where, {"X-User-Email": _header(email, "--as")})


def _with_dev(url: str | None, given: ClientSettings) -> tuple[str, RunningDev | None]:
    """Return the URL, and the `idp dev` that listens there, if any.

    Without any setting it is the running `idp dev`, unless the environment describes another service. The token of `idp
    dev` is never sent to another URL.
    """
    dev = find_running_dev()
    if url is None and given.describes_a_service and dev is not None:
        remark(f"{', '.join(given.named_by)} is set: not using the `idp dev` at {dev.base_urls[0]}.")
        dev = None
    if url is None and given.port is None and dev is not None:
        return checked(dev.base_urls[0]), dev
    where = checked(url or _default(given))
    if dev is None or not is_loopback(where) or _port(where) not in {_port(base) for base in dev.base_urls}:
        return where, None
    return where, dev


def _default(given: ClientSettings) -> str:
    return f"http://localhost:{given.port or DEFAULT_PORT}"


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and url.isascii()
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url or parts.username or parts.query or parts.fragment:
        raise BadInput(f"{url!r} is not a service URL: use one such as https://id.example.com.")
    return url.rstrip("/")


def _bearer(token: Secret, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {_header(token.reveal(), name)}"}


def _header(value: str, name: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise BadInput(
            f"{name} contains a character that is not allowed in a header: a line break or a non-ASCII character."
        )
    return value
