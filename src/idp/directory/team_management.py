"""Teams and their members, as the API and the administration pages manage them."""

from idp.directory.management import Management
from idp.directory.team_members import TEAM_MEMBERS
from idp.directory.teams import TEAMS

TEAM_MANAGEMENT = Management(TEAMS, TEAM_MEMBERS, have_admins=True)
