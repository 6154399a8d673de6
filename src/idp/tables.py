"""Import all tables, for Alembic."""

from idp.apikeys import models as apikeys
from idp.audit import models as audit
from idp.clerk import models as clerk
from idp.db import models as db
from idp.db.base import Base
from idp.directory import models as directory
from idp.events import models as events
from idp.federation import models as federation
from idp.importing import models as importing
from idp.mail import models as mail
from idp.provider import models as provider
from idp.sessions import models as sessions
from idp.signing import models as signing
from idp.users import models as users
from idp.users.factors import models as factors
from idp.webhooks import models as webhooks

METADATA = Base.metadata
MODULES = (
    apikeys,
    audit,
    clerk,
    db,
    directory,
    events,
    factors,
    federation,
    importing,
    mail,
    provider,
    sessions,
    signing,
    users,
    webhooks,
)
