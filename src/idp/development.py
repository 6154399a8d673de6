"""What exists under `idp dev` only, handed to `create_app` by its command (rule 7)."""

from collections.abc import Callable

from msgspec import Struct

from idp.authn.chain import Authenticator
from idp.core import Core
from idp.ops.envelope import Observer
from idp.plugin import Plugin


class Development(Struct, frozen=True):
    """What exists under `idp dev` only (rule 7).

    Attributes:
        authenticators: asked last, in this order.
        features: further plugins.
        keeps_mail: whether mails stay readable, for a page that shows them.
        observe: called after each request.
    """

    authenticators: tuple[Callable[[Core], Authenticator], ...] = ()
    features: tuple[Callable[[Core], Plugin], ...] = ()
    keeps_mail: bool = False
    observe: Observer | None = None


PRODUCTION = Development()
