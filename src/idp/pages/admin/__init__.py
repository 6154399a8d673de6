"""The pages of the administration, below /admin."""

from idp.pages.admin import (
    act_as_user,
    audit,
    client_trial,
    clients,
    domains,
    explain,
    keys,
    overview,
    roles,
    teams,
    user,
    user_actions,
    user_memberships,
    users,
)

ROUTES = (
    *overview.ROUTES,
    *users.ROUTES,
    *user.ROUTES,
    *user_actions.ROUTES,
    *user_memberships.ROUTES,
    *teams.ROUTES,
    *domains.ROUTES,
    *roles.ROUTES,
    *keys.ROUTES,
    *audit.ROUTES,
    *clients.ROUTES,
    *client_trial.ROUTES,
    *act_as_user.ROUTES,
    *explain.ROUTES,
)
