"""The rate limits and their keys: the account, the address, or the pair of both (S3-54, SEC-8)."""

import functools
from ipaddress import IPv6Address, ip_address

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerSecond
from msgspec import Struct

from idp.settings_schema import RateLimits


class Rule(Struct, frozen=True):
    """A limit and its name in metrics.

    Attributes:
        told: whether its state is sent to clients.
        backs_off: whether exhausting it repeatedly blocks for longer; not for accounts, to not lock owners out.
    """

    name: str
    item: RateLimitItem
    told: bool = True
    backs_off: bool = False


Counted = tuple[Rule, tuple[str, ...]]


class RateLimitRules:
    """The limits of sign-in, registration, password resets, verification mails and links, from the settings.

    Attributes:
        consecutive_failures: after so many wrong passwords in a row, only known devices can sign in.
    """

    def __init__(self, settings: RateLimits) -> None:
        self.consecutive_failures = settings.consecutive_failures_per_account
        window = settings.login_window_seconds
        pair, account, address = (
            RateLimitItemPerSecond(amount, window)
            for amount in (
                settings.failed_logins_per_pair,
                settings.failed_logins_per_account,
                settings.failed_logins_per_address,
            )
        )
        self._pair = Rule("login_pair", pair, backs_off=True)
        self._account = Rule("login_account", account, told=False)
        self._address = Rule("login_address", address, backs_off=True)
        self._register = Rule("register_address", RateLimitItemPerHour(settings.registrations_per_address_per_hour))
        self._resets = _two_rules("reset", settings.resets_per_account_per_hour, settings.resets_per_address_per_hour)
        self._verifications = _two_rules(
            "verification",
            settings.verifications_per_account_per_hour,
            settings.verifications_per_address_per_hour,
        )
        self._bad_link = Rule("bad_link_address", RateLimitItemPerHour(settings.bad_links_per_address_per_hour))
        self._authorization = Rule(
            "authorization_address", RateLimitItemPerHour(settings.authorizations_per_address_per_hour)
        )
        self._of_address = {
            "login": self._address,
            "registration": self._register,
            "reset": self._resets[1],
            "verification": self._verifications[1],
            "link": self._bad_link,
        }

    def login(self, account: str, address: str, *, device: str | None = None) -> tuple[Counted, ...]:
        """Return the counters of a failed login: the pair, the account, the address.

        Args:
            account: the key of the e-mail address that was entered.
            address: of the client.
            device: a device that has signed in to this account before. It has its own counter instead of the
                account's, so that an attacker cannot lock the owner out.
        """
        address = network(address)
        of_address = (self._address, (address,))
        if device is not None:
            return (self._pair, (account, f"device:{device}")), of_address
        return (self._pair, (account, address)), (self._account, (account,)), of_address

    def of_address(self, what: str, address: str) -> Counted:
        """Return the per-address counter of this kind of request."""
        return self._of_address[what], (network(address),)

    def registration(self, address: str) -> Counted:
        """Return the counter of registrations from an address."""
        return self._register, (network(address),)

    def reset(self, account: str, address: str, *, known: bool = False) -> tuple[Counted, ...]:
        """Return the counters of a password reset request: the account, which need not exist, and the address.

        Args:
            account: the key of the e-mail address that was entered.
            address: of the client.
            known: whether the request comes from a known device of the account. Known devices share a separate
                counter, so that other clients cannot block the owner; at most twice as many mails are sent.
        """
        return tuple(zip(self._resets, (_account_key(account, known), (network(address),)), strict=True))

    def verification(self, account: str, address: str, *, known: bool = False) -> tuple[Counted, ...]:
        """Return the counters of a request for a verification link, like `reset`."""
        return tuple(zip(self._verifications, (_account_key(account, known), (network(address),)), strict=True))

    def authorization(self, address: str) -> Counted:
        """Return the counter of authorization requests from an address that wait for their user."""
        return self._authorization, (network(address),)

    def bad_link(self, address: str) -> Counted:
        """Return the counter of invalid links from an address."""
        return self._bad_link, (network(address),)


def _account_key(account: str, known: bool) -> tuple[str, ...]:
    return (account, "known") if known else (account,)


def _two_rules(name: str, per_account: int, per_address: int) -> tuple[Rule, Rule]:
    return (
        Rule(f"{name}_account", RateLimitItemPerHour(per_account), told=False),
        Rule(f"{name}_address", RateLimitItemPerHour(per_address)),
    )


@functools.lru_cache(maxsize=4096)
def network(address: str) -> str:
    """Return the network of one client: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or f"{IPv6Address(int(parsed) >> 64 << 64)}/64")
    return str(parsed)
