"""What an application is made of, built from the settings without connecting to anything.

`app.py` puts the parts together; commands, development and measurements use them without an application.
"""

from urllib.parse import urlsplit

from msgspec import Struct

from idp.apikeys.scopes import ScopePolicy
from idp.apikeys.secret import Peppers
from idp.apikeys.usage import Usage
from idp.db.engine import Database
from idp.db.notify import ChangeListener
from idp.mail.addresses import service_name
from idp.mail.outbox import Mailer
from idp.ops.origins import AllowedOrigins
from idp.sessions.cookie import SessionCookies
from idp.sessions.known_devices import KnownDevices
from idp.sessions.refresh_tokens import RefreshTokens
from idp.settings import LoadedSettings, Secret, Settings, SettingsError, root_secret
from idp.signing.jwt import TokenService
from idp.signing.keyring import Algorithm, Keyring
from idp.signing.proof_keys import ProofKeys
from idp.signing.sealing import Sealer
from idp.users.one_time_tokens import OneTimeTokens
from idp.users.passwords import Passwords


class Core(Struct, frozen=True):
    """What an application is made of, for those who build more on it."""

    settings: Settings
    database: Database
    keyring: Keyring
    tokens: TokenService
    passwords: Passwords
    sealer: Sealer
    proofs: ProofKeys
    peppers: Peppers
    change_listener: ChangeListener
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
    return AllowedOrigins(public_url(settings), settings.cors.origins, loopback=settings.cors.loopback)


def build_core(loaded: LoadedSettings) -> Core:
    """Make the parts, without connecting to anything.

    Raises:
        SettingsError: there is no root secret.
        DatabaseUrlError: the database's address cannot be used.
    """
    settings = loaded.settings
    database = Database(settings.database)
    roots = root_secrets(settings)
    sealer, proofs = Sealer(roots), ProofKeys(database, own_secrets(settings), shared_secrets(settings))
    change_listener = ChangeListener(database, floor_seconds=settings.authn.cache_ttl_seconds)
    algorithm: Algorithm = "RS256" if _wants_rsa(settings) else "ES256"
    keyring = Keyring(database, sealer, algorithm, epoch=lambda: change_listener.changes.signing)
    tokens = TokenService(keyring, settings.tokens, issuer=public_url(settings), profile=loaded.profile)
    peppers = Peppers(roots)
    return Core(
        settings=settings,
        database=database,
        keyring=keyring,
        tokens=tokens,
        passwords=Passwords(settings.passwords, service=names_of_service(settings)),
        sealer=sealer,
        proofs=proofs,
        peppers=peppers,
        scope_policy=ScopePolicy(settings.api_keys),
        usage=Usage(database, peppers.current),
        mailer=_mailer(settings, sealer),
        cookies=SessionCookies(roots, proofs, origins=allowed_origins(settings)),
        devices=KnownDevices(proofs, origins=allowed_origins(settings)),
        refresh_tokens=RefreshTokens(
            database,
            roots,
            proofs,
            grace_seconds=settings.tokens.refresh_grace_seconds,
            repeats=settings.tokens.refresh_repeat_while_unused,
        ),
        one_time_tokens=OneTimeTokens(roots, settings.accounts),
        change_listener=change_listener,
    )


def root_secrets(settings: Settings) -> list[Secret]:
    """Return every secret that may open what is stored in the database, the current one first (C-06c, decision 0025).

    A shared secret that stood in for the root secret goes on opening what was sealed and digested meanwhile. Proofs
    that come with a request are another matter: see `signing/proof_keys.py`.

    Raises:
        SettingsError: there is none.
    """
    if root_secret(settings) is None:
        raise SettingsError(["IDP_SECRET_KEY is not set: put 32 or more random characters there."])
    current = [settings.secrets.secret_key] if settings.secrets.secret_key else []
    stand_in = [] if current else shared_secrets(settings)[:1]
    everything = [*current, *stand_in, *settings.secrets.previous_secret_keys, *shared_secrets(settings)]
    return list(dict.fromkeys(everything))


def own_secrets(settings: Settings) -> list[Secret]:
    """Return the root secrets that no other service holds, the current one first."""
    current = settings.secrets.secret_key
    held = set(shared_secrets(settings))
    return [each for each in (current, *settings.secrets.previous_secret_keys) if each and each not in held]


def shared_secrets(settings: Settings) -> list[Secret]:
    """Return the secrets that sibling services hold as well, those in use first."""
    tokens = settings.tokens
    given = [tokens.auth_jwt_secret, tokens.jwt_secret, *tokens.previous_jwt_secrets]
    return list(dict.fromkeys(each for each in given if each is not None))


def _mailer(settings: Settings, sealer: Sealer) -> Mailer:
    name, home = service_name(settings.mail.from_email), settings.mail.frontend_url
    return Mailer(sealer, base_url=front_end(settings), service=name, home=home)


def names_of_service(settings: Settings) -> list[str]:
    """Return what the service calls itself, and the labels of its address, the common ones left out."""
    labels = (urlsplit(public_url(settings)).hostname or "").split(".")[:-1]
    return ["idp", service_name(settings.mail.from_email), *(each for each in labels if len(each) > 3)]


def front_end(settings: Settings) -> str:
    """Return where people are sent: never what a request's Host says (SEC-10)."""
    return settings.mail.frontend_url or public_url(settings)


def _wants_rsa(settings: Settings) -> bool:
    return settings.tokens.algorithm == "RS256"
