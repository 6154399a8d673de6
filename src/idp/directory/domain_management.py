"""Domains and their users, as the API and the administration pages manage them."""

from idp.directory.domain_users import DOMAIN_USERS
from idp.directory.domains import DOMAINS
from idp.directory.management import Management

DOMAIN_MANAGEMENT = Management(DOMAINS, DOMAIN_USERS, have_admins=False)
