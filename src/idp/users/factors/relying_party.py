"""The relying party of passkeys (WebAuthn Level 3 section 5.4.2): its id, its name, and the origins of its pages."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from msgspec import Struct

from idp.ops.origins import AllowedOrigins
from idp.settings import SettingsError


class RelyingParty(Struct, frozen=True):
    """Who the passkeys are for.

    Attributes:
        id: a domain; a passkey works on its pages and those of its subdomains.
        name: what an authenticator shows.
        origins: of the pages that may use passkeys.
    """

    id: str
    name: str
    origins: tuple[str, ...]

    @classmethod
    def of(cls, origins: AllowedOrigins, *, name: str, configured: str | None) -> "RelyingParty":
        """Return the relying party of a deployment.

        An address is no domain: on 127.0.0.1 passkeys work at `localhost`, with the same port.

        Args:
            origins: our own URL, and those of other pages that may call.
            name: of the service.
            configured: the setting `second_factor.relying_party_id`, None for the host of our URL.

        Raises:
            SettingsError: the setting is neither our host nor a domain above it.
        """
        own = urlsplit(origins.own)
        host = own.hostname or ""
        if _is_loopback(host):
            host = "localhost"
        party = configured or host
        if host != party and not host.endswith(f".{party}"):
            problem = f"second_factor.relying_party_id is {party!r}, but the service is at {host!r}"
            raise SettingsError([f"{problem}: name that host or a domain above it."])
        port = f":{own.port}" if own.port else ""
        ours = f"{own.scheme}://{host}{port}"
        others = [each for each in origins.others if _is_within(urlsplit(each).hostname or "", party)]
        return cls(party, name, (ours, *others))


def _is_within(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
