"""The page /admin/signing-keys: the published keys; rotate all, or retire one."""

from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.manage_users import By
from idp.audit.record import record
from idp.errors import IdpError
from idp.pages.admin.routes import Answer, Page, admin_form, admin_page, by, done, problem_text
from idp.pages.signed_in import SignedInPages, Visitor, show
from idp.principal.reauthorize import reauthorize
from idp.principal.requests import AnyRequest
from idp.signing.keyring import Also, Keyring

_PATH = "/admin/signing-keys"


@admin_page(_PATH)
async def signing_keys(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], keyring: NamedDependency[Keyring]
) -> Page:
    """List the published keys."""
    visitor = await signed_in_pages.open(request, admin=True)
    return await _show(request, visitor, keyring)


@admin_form(f"{_PATH}/rotate")
async def rotate_signing_keys(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], keyring: NamedDependency[Keyring]
) -> Answer:
    """Publish new keys of all algorithms, or revoke all earlier ones after a leak."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, admin=True, fresh=True)
    at_once = form.get("at_once") == "yes"
    also = _audited(by(request, visitor), "signing_key.rotated", None, at_once=at_once)
    await keyring.rotate(at_once=at_once, also=also)
    return done(_PATH, "keys_rotated")


@admin_form(f"{_PATH}/retire")
async def retire_signing_key(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], keyring: NamedDependency[Keyring]
) -> Answer:
    """Replace a key, or revoke it after a leak."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, admin=True, fresh=True)
    kid, at_once = form.get("kid", ""), form.get("at_once") == "yes"
    also = _audited(by(request, visitor), "signing_key.retired", kid, at_once=at_once)
    try:
        await keyring.retire(kid, at_once=at_once, also=also)
    except IdpError as error:
        return await _show(request, visitor, keyring, problem=problem_text(request, error))
    return done(_PATH, "keys_rotated")


def _audited(by: By, action: str, kid: str | None, *, at_once: bool) -> Also:
    """Return what authorizes an administrator again and records the change."""

    async def also(session: AsyncSession) -> None:
        await reauthorize(session, by.principal, manages=True)
        target = f"signing_key:{kid}" if kid is not None else None
        record(session, by.origin, action=action, target=target, details={"at_once": at_once})

    return also


async def _show(request: AnyRequest, visitor: Visitor, keyring: Keyring, *, problem: str | None = None) -> Page:
    return show(
        request,
        "admin/signing_keys.html",
        visitor,
        section="admin_signing_keys",
        status=422 if problem else 200,
        keys=await keyring.list_keys(),
        problem=problem,
    )


ROUTES = (signing_keys, rotate_signing_keys, retire_signing_key)
