"""The developer's home at `/` under `idp dev`, and the sign-in as a demo user; only at local host names."""

from functools import partial

from litestar import Response, post
from litestar.config.app import AppConfig
from litestar.di import NamedDependency
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from idp import __version__
from idp.accounts.start_session import SessionStarter, StartedSession, StartOf
from idp.core import Core
from idp.db.engine import Database
from idp.dev.home import DeveloperHome
from idp.dev.local_host import is_local_request
from idp.dev.rendering import TEMPLATES
from idp.dev.upstream_issuer import PROVIDER
from idp.errors import InvalidCredentials, NotFound
from idp.pages.forms import ERROR_PAGES, FORM, read_form
from idp.pages.rendering import form_policy
from idp.pages.sign_in_steps import RequestId, ReturnTo, find_journey, finish
from idp.plugin import Plugin
from idp.principal.guards import public
from idp.principal.model import SINGLE_FACTOR, Principal
from idp.principal.requests import AnyRequest
from idp.provider.authorization import Authorization
from idp.sessions.form_tokens import FormTokens
from idp.settings import Settings
from idp.signing.jwt import Family, TokenService
from idp.users import credentials
from idp.users import service as users

SIGN_IN = "/dev/sign-in"
_PASSWORD = ("pwd",)


def _check_local(request: AnyRequest, settings: Settings) -> None:
    """Refuse requests to other host names (DNS rebinding, docs/decisions/0010).

    Raises:
        NotFound: the host is not local.
    """
    if not is_local_request(request.headers, in_container=settings.dev.in_container):
        raise NotFound("This page is available only at localhost.")


async def _show(
    request: AnyRequest, browser: Principal | None, form_tokens: FormTokens, core: Core, home: DeveloperHome
) -> Response[str]:
    """Return the page. It has tokens of the demo users, which anybody on this machine could have anyway."""
    _check_local(request, core.settings)
    token, cookies = form_tokens.issue(request.cookies)
    page = TEMPLATES.get_template("home.html").render(
        prefix="",
        root="/docs",
        version=__version__,
        base_url=core.tokens.issuer,
        servers=await home.servers(),
        demo_users=await home.demo_users(),
        clients=await home.clients(),
        upstream=PROVIDER if PROVIDER in core.settings.federation.providers else None,
        upstream_page=core.settings.oidc.providers[PROVIDER].issuer if PROVIDER in core.settings.oidc.providers else "",
        user=browser.user if browser else None,
        csrf_token=token,
    )
    headers = {"Content-Security-Policy": form_policy(), "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    return Response(page, media_type="text/html", headers=headers | {"Vary": "Accept"}, cookies=cookies)


@post(SIGN_IN, opt=public() | FORM, include_in_schema=False, status_code=200, exception_handlers=ERROR_PAGES)
async def sign_in_as(
    request: AnyRequest,
    developer_home: NamedDependency[DeveloperHome],
    authorizations: NamedDependency[Authorization],
    database: NamedDependency[Database],
    form_tokens: NamedDependency[FormTokens],
    session_starter: NamedDependency[SessionStarter],
    settings: NamedDependency[Settings],
    tokens: NamedDependency[TokenService],
    request_id: RequestId = None,
    return_to: ReturnTo = None,
) -> Redirect:
    """Start a session of a demo user, without a password."""
    _check_local(request, settings)
    form = await read_form(request, public_url=tokens.issuer)
    form_tokens.check(request.cookies, form.get("csrf_token", ""))
    session_starter.check_origin(request, "cookie")
    journey = await find_journey(authorizations, request_id, return_to)
    email = form.get("email", "")
    if email not in {persona.email for persona in developer_home.personas}:
        raise NotFound("There is no such demo user.")

    async def start(session: AsyncSession) -> StartedSession:
        user_id = await users.find_id_by_email(session, email)
        holder = await credentials.find_by_id(session, user_id) if user_id else None
        if holder is None:
            raise InvalidCredentials
        of = StartOf(
            holder.user_id,
            holder.password_version,
            _PASSWORD,
            False,
            None,
            "cookie",
            Family.API_AUTH,
            "Login successful",
        )
        started = await session_starter.start_now(session, request, of, acr=SINGLE_FACTOR)
        if started is None:
            raise InvalidCredentials
        return started

    return await finish(authorizations, journey, await database.transact(start))


class HomePlugin(Plugin):
    """Serves the developer's home, and provides `developer_home`.

    Args:
        core: of the running service.
    """

    routes = (sign_in_as,)

    def __init__(self, core: Core) -> None:
        self._core = core
        self._home = DeveloperHome(core)
        self.provides = {"developer_home": self._home}

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.state["demo_users"] = [(each.email, each.name) for each in self._home.personas]
        app_config.state["show_developers"] = partial(_show, core=self._core, home=self._home)
        return super().on_app_init(app_config)
