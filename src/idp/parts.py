"""What an application is made of, built from the settings without connecting to anything.

`app.py` puts the parts together; commands, development and measurements use them without an application.
"""

from msgspec import Struct

from idp.apikeys.scopes import ScopePolicy
from idp.apikeys.secret import Peppers
from idp.apikeys.usage import Usage
from idp.db.engine import Database
from idp.db.notify import Ear
from idp.mail.addresses import service_name
from idp.mail.outbox import Mailer
from idp.ops.origins import AllowedOrigins
from idp.sessions.cookie import SessionCookies
from idp.sessions.known_devices import KnownDevices
from idp.sessions.refresh_tokens import RefreshTokens
from idp.settings import LoadedSettings, Secret, Settings, SettingsError, root_secret
from idp.signing.jwt import TokenService
from idp.signing.keyring import Algorithm, Keyring
from idp.signing.sealing import Sealer
from idp.users.one_time_tokens import OneTimeTokens
from idp.users.passwords import Passwords


class Parts(Struct, frozen=True):
    """What an application is made of, for those who build more on it."""

    settings: Settings
    database: Database
    keyring: Keyring
    tokens: TokenService
    passwords: Passwords
    sealer: Sealer
    peppers: Peppers
    ear: Ear
    scope_policy: ScopePolicy
    usage: Usage
    cookies: SessionCookies
    devices: KnownDevices
    refresh_tokens: RefreshTokens
    one_time_tokens: OneTimeTokens
    mailer: Mailer


def public_url(settings: Settings) -> str:
    """Return the address that clients use, which is the issuer of every token."""
    return (settings.server.public_url or f"http://localhost:{settings.server.port}").rstrip("/")


def allowed_origins(settings: Settings) -> AllowedOrigins:
    """Return which web pages may call."""
    return AllowedOrigins(public_url(settings), settings.cors.origins)


def build_parts(loaded: LoadedSettings) -> Parts:
    """Make the parts, without connecting to anything.

    Raises:
        SettingsError: there is no root secret.
        DatabaseUrlError: the database's address cannot be used.
    """
    settings = loaded.settings
    database = Database(settings.database)
    roots = root_secrets(settings)
    sealer = Sealer(roots)
    ear = Ear(database, floor_seconds=settings.authn.cache_ttl_seconds)
    algorithm: Algorithm = "RS256" if _wants_rsa(settings) else "ES256"
    keyring = Keyring(database, sealer, algorithm, epoch=lambda: ear.changes.signing)
    tokens = TokenService(keyring, settings.tokens, issuer=public_url(settings), profile=loaded.profile)
    peppers = Peppers(roots)
    return Parts(
        settings=settings,
        database=database,
        keyring=keyring,
        tokens=tokens,
        passwords=Passwords(settings.passwords),
        sealer=sealer,
        peppers=peppers,
        scope_policy=ScopePolicy(settings.api_keys),
        usage=Usage(database, peppers.current),
        mailer=_mailer(settings, sealer),
        cookies=SessionCookies(roots, origins=allowed_origins(settings)),
        devices=KnownDevices(roots, origins=allowed_origins(settings)),
        refresh_tokens=RefreshTokens(database, roots, grace_seconds=settings.tokens.refresh_grace_seconds),
        one_time_tokens=OneTimeTokens(roots, settings.accounts),
        ear=ear,
    )


def root_secrets(settings: Settings) -> list[Secret]:
    """Return every live root secret, the current one first (C-06c).

    Raises:
        SettingsError: there is none.
    """
    current = root_secret(settings)
    if current is None:
        raise SettingsError(["IDP_SECRET_KEY is not set: put 32 or more random characters there."])
    earlier = [settings.tokens.auth_jwt_secret] if settings.tokens.auth_jwt_secret else []
    return list(dict.fromkeys([current, *settings.secrets.previous_secret_keys, *earlier]))


def _mailer(settings: Settings, sealer: Sealer) -> Mailer:
    name, home = service_name(settings.mail.from_email), settings.mail.frontend_url
    return Mailer(sealer, base_url=front_end(settings), service=name, home=home)


def front_end(settings: Settings) -> str:
    """Return where people are sent: never what a request's Host says (SEC-10)."""
    return settings.mail.frontend_url or public_url(settings)


def _wants_rsa(settings: Settings) -> bool:
    return settings.tokens.algorithm == "RS256"
