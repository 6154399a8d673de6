"""Plugin of teams and domains."""

from idp.directory import routes_domains, routes_teams
from idp.plugin import Plugin


class DirectoryPlugin(Plugin):
    """Adds the routes of teams, domains and their members."""

    routes = (*routes_teams.ROUTES, *routes_domains.ROUTES)
