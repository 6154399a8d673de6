"""Which service a command talks to, and as whom: options, the environment, or the `idp dev` of this machine."""

from urllib.parse import urlsplit

from msgspec import Struct

from idp.cli.dev_discovery import RunningDev, find_running_dev
from idp.cli.failure import BadInput, Refused
from idp.cli.http import is_loopback
from idp.cli.notices import remark
from idp.settings import ClientSettings, Secret, client_settings

DEFAULT_PORT = 8000


class Target(Struct, frozen=True):
    """An address without a slash at its end, and the headers that say who asks."""

    url: str
    headers: dict[str, str]

    def __repr__(self) -> str:
        return f"Target({self.url})"


def for_management(url: str | None) -> Target:
    """Return where to manage and with what: ADMIN_TOKEN, or the token of the `idp dev` that runs here.

    Args:
        url: what was given on the command line.

    Raises:
        BadInput: the address cannot be one.
    """
    given = client_settings()
    if given.admin_token is not None:
        return Target(_checked(url or given.url or _default(given)), _bearer(given.admin_token, "ADMIN_TOKEN"))
    where, dev = _with_dev(url or given.url, given)
    return Target(where, _bearer(dev.token, "ADMIN_TOKEN") if dev else {})


def for_person(url: str | None, email: str | None) -> Target:
    """Return where to act as a person and with what: IDP_TOKEN, or dev headers.

    Args:
        url: what was given on the command line.
        email: whom to be at an `idp dev`; None for whom IDP_TOKEN says.

    Raises:
        BadInput: the address cannot be one, or dev headers were asked for elsewhere than on this machine.
        Refused: nothing says who asks.
    """
    given = client_settings()
    if email is None and given.access_token is not None:
        return Target(_checked(url or given.url or _default(given)), _bearer(given.access_token, "IDP_TOKEN"))
    where, _ = _with_dev(url or given.url, given)
    if email is None:
        raise Refused(
            f"Not signed in to {where}: put your access token into IDP_TOKEN (POST /auth/login answers one), "
            "or pass --as EMAIL where that is an `idp dev` on this machine."
        )
    if not is_loopback(where):
        raise BadInput(f"--as is for an `idp dev` on this machine, and {where} is elsewhere: use IDP_TOKEN there.")
    return Target(where, {"X-User-Email": _header(email, "--as")})


def _with_dev(url: str | None, given: ClientSettings) -> tuple[str, RunningDev | None]:
    """Return the address, and what the `idp dev` that listens at this very one has announced.

    Without any setting the address is that of the `idp dev`; where the environment describes another service, nobody
    means it by saying nothing. Its token never leaves for another address.
    """
    dev = find_running_dev()
    if url is None and given.describes_a_service and dev is not None:
        remark(f"{', '.join(given.named_by)} is set: this command does not use the `idp dev` at {dev.base_urls[0]}.")
        dev = None
    if url is None and given.port is None and dev is not None:
        return _checked(dev.base_urls[0]), dev
    where = _checked(url or _default(given))
    if dev is None or not is_loopback(where) or _port(where) not in {_port(base) for base in dev.base_urls}:
        return where, None
    return where, dev


def _default(given: ClientSettings) -> str:
    return f"http://localhost:{given.port or DEFAULT_PORT}"


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and url.isascii()
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url or parts.username or parts.query or parts.fragment:
        raise BadInput(f"{url!r} is no address of a service: put one such as https://id.example.com there.")
    return url.rstrip("/")


def _bearer(token: Secret, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {_header(token.reveal(), name)}"}


def _header(value: str, name: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise BadInput(f"{name} holds a character that no request can carry: a line break, or something beyond ASCII.")
    return value
