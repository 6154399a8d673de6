"""The pages /account/security/passkeys: list, rename and remove one's passkeys, and add one."""

from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect
from msgspec import Struct

from idp.accounts.manage_factors import ManageFactors
from idp.accounts.passkey_shapes import NewPasskey, PasskeyName
from idp.accounts.passkeys import AccountPasskeys
from idp.audit.record import origin_of
from idp.errors import PasskeyExists, PasskeyNotFound, PasskeyRejected, SecondFactorNeeded, TooManyPasskeys
from idp.pages.account.recovery_codes import show_codes
from idp.pages.forms import FORM
from idp.pages.passkey_login import parse_credential
from idp.pages.rendering import redirect
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, Visitor, show
from idp.principal.requests import AnyRequest

PATH, _ADD, _SECTION = "/account/security/passkeys", "/account/security/passkeys/add", "account_security"
_ERRORS: dict[type[Exception], str] = {
    PasskeyRejected: "rejected",
    PasskeyExists: "exists",
    TooManyPasskeys: "too_many",
    PasskeyNotFound: "gone",
}


class KnownPasskeys(Struct, frozen=True):
    """What the browser is told, for its password managers (WebAuthn Level 3 section 5.1.10)."""

    rp_id: str = msgspec.field(name="rpId")
    user_id: str | None = msgspec.field(name="userId")
    credential_ids: list[str] = msgspec.field(name="allAcceptedCredentialIds")
    name: str
    display_name: str = msgspec.field(name="displayName")


@get(PATH, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def passkeys_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    account_passkeys: NamedDependency[AccountPasskeys],
) -> Response[str]:
    """List the passkeys."""
    return await _list(request, await signed_in_pages.open(request), account_passkeys)


@post(
    f"{PATH}/{{passkey_id:uuid}}/rename",
    opt=OF_PERSON | FORM,
    include_in_schema=False,
    status_code=200,
    exception_handlers=SIGNED_IN_ERRORS,
)
async def rename_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    account_passkeys: NamedDependency[AccountPasskeys],
    passkey_id: FromPath[UUID],
) -> Response[str] | Redirect:
    """Give a passkey another name."""
    visitor, form = await signed_in_pages.submit(request, page=PATH)
    name = _name(form)
    if name is None:
        return await _list(request, visitor, account_passkeys, error="bad_name")
    try:
        await account_passkeys.rename(visitor.principal, passkey_id, name, origin_of(request))
    except PasskeyNotFound:
        return await _list(request, visitor, account_passkeys, error="gone")
    return redirect(f"{PATH}?done=saved")


@post(
    f"{PATH}/{{passkey_id:uuid}}/remove",
    opt=OF_PERSON | FORM,
    include_in_schema=False,
    status_code=200,
    exception_handlers=SIGNED_IN_ERRORS,
)
async def remove_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    account_passkeys: NamedDependency[AccountPasskeys],
    passkey_id: FromPath[UUID],
) -> Response[str] | Redirect:
    """Remove a passkey, after a recent sign-in."""
    visitor, _ = await signed_in_pages.submit(request, page=PATH, fresh=True)
    try:
        await account_passkeys.remove(visitor.principal, passkey_id, origin_of(request))
    except PasskeyNotFound:
        return await _list(request, visitor, account_passkeys, error="gone")
    except SecondFactorNeeded:
        return await _list(request, visitor, account_passkeys, error="required")
    return redirect(f"{PATH}?done=passkey_removed")


@get(_ADD, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def add_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    account_passkeys: NamedDependency[AccountPasskeys],
) -> Response[str]:
    """Show the form that registers a passkey, after a recent sign-in."""
    return await _form(request, await signed_in_pages.open(request, fresh=True), account_passkeys)


@post(_ADD, opt=OF_PERSON | FORM, include_in_schema=False, status_code=200, exception_handlers=SIGNED_IN_ERRORS)
async def add_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    account_passkeys: NamedDependency[AccountPasskeys],
    manage_factors: NamedDependency[ManageFactors],
) -> Response[str] | Redirect:
    """Register a passkey; with the first factor come recovery codes, shown once."""
    visitor, form = await signed_in_pages.submit(request, page=_ADD, fresh=True)
    name = _name(form)
    if name is None:
        return await _form(request, visitor, account_passkeys, error="bad_name", entered=form.get("name", ""))
    new = NewPasskey(credential=parse_credential(form.get("credential", "")), name=name)
    try:
        added = await account_passkeys.register(request, visitor.principal, new, mode="cookie")
    except (PasskeyRejected, PasskeyExists) as error:
        return await _form(request, visitor, account_passkeys, error=_ERRORS[type(error)], entered=name)
    except TooManyPasskeys:
        return await _list(request, visitor, account_passkeys, error="too_many")
    assert added.started is not None
    if not added.recovery_codes:
        return redirect(f"{PATH}?done=passkey_added", cookies=added.started.cookies)
    now = Visitor(visitor.principal, str(added.started.answer.csrf_token), cookies=added.started.cookies)
    return await show_codes(request, now, manage_factors, added.recovery_codes)


async def _list(
    request: AnyRequest, visitor: Visitor, account_passkeys: AccountPasskeys, *, error: str | None = None
) -> Response[str]:
    listed, user = await account_passkeys.list(visitor.user.id), visitor.user
    name = user.email or user.id
    ids = [each.credential_id for each in listed.passkeys]
    known = KnownPasskeys(listed.rp_id, listed.user_handle, ids, name, user.name or name)
    return show(
        request,
        "account/passkeys.html",
        visitor,
        section=_SECTION,
        status=422 if error else 200,
        passkeys=listed.passkeys,
        known=msgspec.json.encode(known).decode(),
        error=error,
    )


async def _form(
    request: AnyRequest,
    visitor: Visitor,
    account_passkeys: AccountPasskeys,
    *,
    error: str | None = None,
    entered: str | None = None,
) -> Response[str]:
    try:
        options = await account_passkeys.options(visitor.principal)
    except TooManyPasskeys:
        return await _list(request, visitor, account_passkeys, error="too_many")
    return show(
        request,
        "account/passkey_add.html",
        visitor,
        section=_SECTION,
        status=422 if error else 200,
        options=msgspec.json.encode(options).decode(),
        entered=entered or visitor.draft.get("name", ""),
        error=error,
    )


def _name(form: dict[str, str]) -> str | None:
    """Return the entered name, None if no passkey may have it."""
    try:
        return msgspec.convert(form.get("name", "").strip(), PasskeyName)
    except msgspec.ValidationError:
        return None


ROUTES = (passkeys_page, rename_form, remove_form, add_page, add_form)
