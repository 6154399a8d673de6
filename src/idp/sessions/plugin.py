"""Plugin of sessions: refresh tokens, cookies, known devices, and last-used times."""

from idp.plugin import Plugin
from idp.sessions.activity import Activity
from idp.sessions.cookie import SessionCookies
from idp.sessions.known_devices import KnownDevices
from idp.sessions.refresh_tokens import RefreshTokens


class SessionsPlugin(Plugin):
    """Provides `refresh_tokens`, `session_cookies` and `known_devices`. Routes are in `accounts`."""

    def __init__(
        self, refresh_tokens: RefreshTokens, cookies: SessionCookies, devices: KnownDevices, activity: Activity
    ) -> None:
        self.provides = {"refresh_tokens": refresh_tokens, "session_cookies": cookies, "known_devices": devices}
        self.services = [activity]
