"""The page /account/keys: a user's API keys. A secret is shown once, after it was created."""

import secrets

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from idp.apikeys import service as api_keys
from idp.apikeys.idempotency import Idempotency
from idp.apikeys.own_keys import Creation, OwnKeys
from idp.apikeys.routes_keys import parse_key_id
from idp.apikeys.shapes import KeySecret, NewKey
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import KeyExpired, KeyNotFound, KeyRevoked, ScopeNotGrantable, TooManyKeys
from idp.pages.account.fields import is_valid, read
from idp.pages.forms import FORM
from idp.pages.rendering import redirect
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, Visitor, show
from idp.principal.requests import AnyRequest

_PATH = "/account/keys"
_DAYS = (7, 30, 90, 365)


@get(_PATH, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def keys_page(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Response[str]:
    """Show the keys that are not revoked, newest first."""
    visitor = await signed_in_pages.open(request)
    async with database.transaction() as session:
        keys, _ = await api_keys.list_keys(session, visitor.user.id, include_revoked=False, limit=None, offset=0)
    return show(request, "account/keys.html", visitor, section="account_keys", keys=keys)


@get(f"{_PATH}/new", opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def new_key_page(request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages]) -> Response[str]:
    """Show the form for a new key."""
    visitor = await signed_in_pages.open(request, fresh=_needs_fresh_login(request))
    return _show_form(request, visitor, dict(visitor.draft))


@post(
    f"{_PATH}/new", opt=OF_PERSON | FORM, include_in_schema=False, status_code=200, exception_handlers=SIGNED_IN_ERRORS
)
async def new_key_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    own_keys: NamedDependency[OwnKeys],
    idempotency: NamedDependency[Idempotency],
) -> Response[str]:
    """Create a key and show its secret. Sent again within ten minutes, the form shows the same key."""
    visitor, form = await signed_in_pages.submit(request, page=f"{_PATH}/new", fresh=_needs_fresh_login(request))
    scopes, days = form.get("scopes", "").replace(",", " ").split(), form.get("days", "")
    name = form.get("name", "").strip()
    values = {"name": name, "scopes": scopes, "expires_in_days": int(days) if days in map(str, _DAYS) else None}
    new = read(NewKey, values)
    if new is None:
        problem = "scopes" if is_valid(NewKey, "scopes", scopes) or read(NewKey, values | {"scopes": []}) else "name"
        return _show_form(request, visitor, form, problem=problem)
    origin = origin_of(request)

    def once(create: Creation) -> Creation:
        key = f"form:{form['once']}" if form.get("once") else None
        return idempotency.creation(create, KeySecret, actor=origin.actor, key=key, request=new)

    try:
        created = await own_keys.create(visitor.principal, origin, new, once=once)
    except ScopeNotGrantable:
        return _show_form(request, visitor, form, problem="refused")
    except TooManyKeys:
        return _show_form(request, visitor, form, problem="many")
    return _show_secret(request, visitor, created)


@post(
    f"{_PATH}/rotate",
    opt=OF_PERSON | FORM,
    include_in_schema=False,
    status_code=200,
    exception_handlers=SIGNED_IN_ERRORS,
)
async def rotate_key_form(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], own_keys: NamedDependency[OwnKeys]
) -> Response[str] | Redirect:
    """Replace the secret of a key at once, and show the new one."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, fresh=_needs_fresh_login(request))
    try:
        rotated = await own_keys.rotate(visitor.principal, origin_of(request), parse_key_id(form.get("key_id", "")))
    except (KeyNotFound, KeyRevoked, KeyExpired):
        return redirect(f"{_PATH}?done=key_gone")
    return _show_secret(request, visitor, rotated)


@post(
    f"{_PATH}/revoke",
    opt=OF_PERSON | FORM,
    include_in_schema=False,
    status_code=200,
    exception_handlers=SIGNED_IN_ERRORS,
)
async def revoke_key_form(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], own_keys: NamedDependency[OwnKeys]
) -> Redirect:
    """Revoke a key at once."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH)
    try:
        await own_keys.revoke(visitor.principal, origin_of(request), parse_key_id(form.get("key_id", "")))
    except KeyNotFound:
        return redirect(f"{_PATH}?done=key_gone")
    return redirect(f"{_PATH}?done=key_revoked")


def _needs_fresh_login(request: AnyRequest) -> bool:
    return bool(request.app.state.fresh_login_for_keys)


def _show_form(
    request: AnyRequest, visitor: Visitor, entered: dict[str, str], *, problem: str | None = None
) -> Response[str]:
    return show(
        request,
        "account/new_key.html",
        visitor,
        section="account_keys",
        status=422 if problem else 200,
        entered={"name": "", "scopes": "", "days": "90", **entered},
        problem=problem,
        days=_DAYS,
        once=secrets.token_urlsafe(16),
    )


def _show_secret(request: AnyRequest, visitor: Visitor, key: KeySecret) -> Response[str]:
    return show(request, "account/key_secret.html", visitor, section="account_keys", key=key)


ROUTES = (keys_page, new_key_page, new_key_form, rotate_key_form, revoke_key_form)
