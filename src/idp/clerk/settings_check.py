"""Checks the settings of Clerk, for the start and for `idp config check`."""

from collections.abc import Callable, Iterator

from idp.clerk.signature import readers
from idp.deployment import clerk_issuer
from idp.principal.permissions import ADMIN
from idp.settings import Settings, SettingsError
from idp.signing.clerk_token import PemKey


def check_clerk(settings: Settings) -> None:
    """Refuse settings of Clerk that cannot be used.

    Raises:
        SettingsError: one sentence per problem.
    """
    clerk, problems = settings.clerk, []
    checks: tuple[Callable[[], object], ...] = (
        lambda: clerk_issuer(settings),
        lambda: readers(clerk.webhook_secrets),
        lambda: clerk.jwt_key and PemKey(clerk.jwt_key),
    )
    for check in checks:
        try:
            check()
        except SettingsError as error:
            problems += error.problems
        except ValueError as error:
            problems.append(f"{error}.")
    if problems:
        raise SettingsError(problems)


def notes_on_clerk(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each setting of Clerk that may not be meant, for `idp config check`."""
    clerk = settings.clerk
    if ADMIN in clerk.metadata_roles:
        yield (
            "clerk.metadata_roles contains admin: everyone who may edit users at Clerk decides who administers this "
            "service. Remove it if that is not meant."
        )
    if clerk.issuer is None and clerk.publishable_key is None:
        return
    if not clerk.authorized_parties:
        yield (
            "CLERK_AUTHORIZED_PARTIES is not set: session tokens for every origin of the Clerk instance are accepted; "
            "list the origins of your applications."
        )
    for party in clerk.authorized_parties:
        if "://" not in party:
            yield (
                f"CLERK_AUTHORIZED_PARTIES contains {party}, which is not an origin and matches no session token: "
                f"use https://{party}."
            )
    if not clerk.webhook_secrets:
        yield "CLERK_WEBHOOK_SECRET is not set: users of Clerk are copied only by `idp clerk repair`."
