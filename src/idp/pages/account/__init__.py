"""The pages of an account, below /account, for its user."""

from idp.pages.account import (
    activity,
    apps,
    authenticator,
    data,
    email,
    identities,
    keys,
    overview,
    passkeys,
    password,
    profile,
    recovery_codes,
    security,
    sessions,
)

ROUTES = (
    *overview.ROUTES,
    *profile.ROUTES,
    *password.ROUTES,
    *email.ROUTES,
    *security.ROUTES,
    *authenticator.ROUTES,
    *recovery_codes.ROUTES,
    *passkeys.ROUTES,
    *sessions.ROUTES,
    *keys.ROUTES,
    *identities.ROUTES,
    *apps.ROUTES,
    *activity.ROUTES,
    *data.ROUTES,
)
