"""The pages of one's own account."""

from idp.pages.account import (
    activity,
    apps,
    data,
    email,
    identities,
    keys,
    overview,
    passkeys,
    password,
    profile,
    sessions,
)

ROUTES = (
    *overview.ROUTES,
    *profile.ROUTES,
    *password.ROUTES,
    *email.ROUTES,
    *passkeys.ROUTES,
    *sessions.ROUTES,
    *keys.ROUTES,
    *identities.ROUTES,
    *apps.ROUTES,
    *activity.ROUTES,
    *data.ROUTES,
)
