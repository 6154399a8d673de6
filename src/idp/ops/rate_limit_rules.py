"""What is limited, and by what it counts: the account, the address, or the pair of both (S3-54, SEC-8)."""

import functools
from ipaddress import IPv6Address, ip_address

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerSecond
from msgspec import Struct

from idp.settings_schema import RateLimits


class Rule(Struct, frozen=True):
    """A limit and its name in metrics.

    Attributes:
        told: whether a client may know what is left of it.
        backs_off: whether using it up again and again means waiting longer. Never for an account: its owner would wait.
    """

    name: str
    item: RateLimitItem
    told: bool = True
    backs_off: bool = False


Counted = tuple[Rule, tuple[str, ...]]


class LoginRules:
    """The limits of sign-in and registration, from the settings.

    Attributes:
        consecutive_failures: after so many wrong passwords in a row, whatever the time, only known devices sign in.
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
        self._of_address = {
            "login": self._address,
            "registration": self._register,
            "reset": self._resets[1],
            "verification": self._verifications[1],
            "link": self._bad_link,
        }

    def login(self, account: str, address: str, *, device: str | None = None) -> tuple[Counted, ...]:
        """Return what a failed login counts under: the pair, the account, the address.

        Args:
            account: the key of the address that was typed.
            address: where the request comes from.
            device: a device that has signed in to this account before. It counts by itself and not for the account, so
                that nobody who guesses at the account locks its owner out.
        """
        address = network(address)
        of_address = (self._address, (address,))
        if device is not None:
            return (self._pair, (account, f"device:{device}")), of_address
        return (self._pair, (account, address)), (self._account, (account,)), of_address

    def of_address(self, what: str, address: str) -> Counted:
        """Return what everything of a kind counts under that comes from an address."""
        return self._of_address[what], (network(address),)

    def registration(self, address: str) -> Counted:
        """Return what a registration counts under."""
        return self._register, (network(address),)

    def reset(self, account: str, address: str, *, known: bool = False) -> tuple[Counted, ...]:
        """Return what asking for a new password counts under: the account, which need not exist, and the address.

        Args:
            account: the key of the address that was typed.
            address: where the request comes from.
            known: whether it comes from a device of the account's. All of these together count by themselves: no
                stranger who asks in somebody's name keeps them from asking, and nobody is mailed more than twice as
                much.
        """
        return tuple(zip(self._resets, (_share(account, known), (network(address),)), strict=True))

    def verification(self, account: str, address: str, *, known: bool = False) -> tuple[Counted, ...]:
        """Return what asking for a link that verifies an address counts under, like `reset`."""
        return tuple(zip(self._verifications, (_share(account, known), (network(address),)), strict=True))

    def bad_link(self, address: str) -> Counted:
        """Return what a link that does not work counts under."""
        return self._bad_link, (network(address),)


def _share(account: str, known: bool) -> tuple[str, ...]:
    return (account, "known") if known else (account,)


def _two_rules(name: str, per_account: int, per_address: int) -> tuple[Rule, Rule]:
    return (
        Rule(f"{name}_account", RateLimitItemPerHour(per_account), told=False),
        Rule(f"{name}_address", RateLimitItemPerHour(per_address)),
    )


@functools.lru_cache(maxsize=4096)
def network(address: str) -> str:
    """Return what one client has to itself: an IPv4 address, or the /64 that every IPv6 client owns whole."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or f"{IPv6Address(int(parsed) >> 64 << 64)}/64")
    return str(parsed)
