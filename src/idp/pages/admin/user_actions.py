"""The forms of the page of a user: change, disable, delete, end sessions, revoke keys."""

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote
from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath

from idp.accounts import manage_users
from idp.accounts.factor_routes import ResetFactorsIn
from idp.accounts.manage_factors import ManageFactors
from idp.accounts.manage_users import By
from idp.apikeys.routes_keys import parse_key_id
from idp.db.engine import Database
from idp.errors import IdpError, SessionNotFound
from idp.ops.problems import invalid
from idp.pages.admin.routes import Answer, admin_form, by, done, problem_text, values
from idp.pages.admin.user import PATH, show_user
from idp.pages.admin.users import chosen_roles
from idp.pages.signed_in import SignedInPages
from idp.principal.requests import AnyRequest
from idp.users import administration
from idp.users.shapes import UserChange

Form = Mapping[str, str]
Action = Callable[[By, Form], Awaitable[object]]


class UserForms:
    """Runs the action of a form, and shows the user's page again.

    Args:
        request: the POST.
        signed_in_pages: reads the form.
        database: the database.
        user_id: the user.
    """

    def __init__(self, request: AnyRequest, signed_in_pages: SignedInPages, database: Database, user_id: str) -> None:
        self._request = request
        self._signed_in_pages = signed_in_pages
        self._database = database
        self._user_id = user_id

    async def run(self, action: Action, name: str, *, fresh: bool = True, then: str | None = None) -> Answer:
        """Run an action, and return the page with what was done or why it was refused.

        Args:
            action: makes the change.
            name: of the text that says what was done (`done.NAME`).
            fresh: require a recent sign-in.
            then: the page that follows, if not the user's.
        """
        page, request = f"/admin/users/{quote(self._user_id, safe='')}", self._request
        visitor, form = await self._signed_in_pages.submit(request, page=page, admin=True, fresh=fresh)
        try:
            await action(by(request, visitor), form)
        except IdpError as error:
            problem = problem_text(request, error)
            return await show_user(request, visitor, self._database, self._user_id, entered=form, problem=problem)
        return done(then or page, name)


@admin_form(f"{PATH}/profile")
async def change_profile(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Answer:
    """Change the name and the plan of a user."""

    async def change(by: By, form: Form) -> None:
        fields = {"name": form.get("name", "").strip(), "plan": form.get("plan", "")}
        await manage_users.change(database, by, user_id, values(fields, UserChange))

    return await UserForms(request, signed_in_pages, database, user_id).run(change, "saved", fresh=False)


@admin_form(f"{PATH}/roles")
async def change_roles(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Answer:
    """Change the roles of a user."""

    async def change(by: By, form: Form) -> None:
        await manage_users.change(database, by, user_id, values({"roles": chosen_roles(form)}, UserChange))

    return await UserForms(request, signed_in_pages, database, user_id).run(change, "roles_changed")


@admin_form(f"{PATH}/disable")
async def disable(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Answer:
    """Disable a user, which revokes all credentials."""

    async def change(by: By, _form: Form) -> None:
        await manage_users.change(database, by, user_id, UserChange(is_active=False))

    return await UserForms(request, signed_in_pages, database, user_id).run(change, "user_disabled")


@admin_form(f"{PATH}/enable")
async def enable(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Answer:
    """Enable a user."""

    async def change(by: By, _form: Form) -> None:
        await manage_users.change(database, by, user_id, UserChange(is_active=True))

    return await UserForms(request, signed_in_pages, database, user_id).run(change, "user_enabled")


@admin_form(f"{PATH}/delete")
async def delete(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Answer:
    """Delete a user whose address, or id, was typed to confirm it."""

    async def change(by: By, form: Form) -> None:
        async with database.transaction() as session:
            person = await administration.get_user(session, user_id)
        if form.get("confirm", "").strip().lower() != (person.email or person.user_id).lower():
            raise invalid(["body", "confirm"], person.email or person.user_id)
        await manage_users.delete(database, by, user_id)

    return await UserForms(request, signed_in_pages, database, user_id).run(change, "user_deleted", then="/admin/users")


@admin_form(f"{PATH}/sessions/end")
async def end_sessions(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Answer:
    """End one session of a user, or all."""

    async def change(by: By, form: Form) -> None:
        chosen = form.get("session_id")
        if chosen is None:
            await manage_users.end_sessions(database, by, user_id)
            return
        try:
            await manage_users.end_session(database, by, user_id, UUID(chosen))
        except ValueError:
            raise SessionNotFound from None

    return await UserForms(request, signed_in_pages, database, user_id).run(change, "user_session_ended")


@admin_form(f"{PATH}/keys/revoke")
async def revoke_key(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Answer:
    """Revoke an API key of a user."""

    async def change(by: By, form: Form) -> None:
        await manage_users.revoke_key(database, by, user_id, parse_key_id(form.get("key_id", "")))

    return await UserForms(request, signed_in_pages, database, user_id).run(change, "user_key_revoked")


@admin_form(f"{PATH}/factors/reset")
async def reset_factors(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    manage_factors: NamedDependency[ManageFactors],
    user_id: FromPath[str],
) -> Answer:
    """Remove the second factors of a user who has lost them."""

    async def change(by: By, form: Form) -> None:
        reason = values({"reason": form.get("factors_reason", "").strip()}, ResetFactorsIn).reason
        await manage_factors.reset(by.principal, user_id, reason, by.origin)

    return await UserForms(request, signed_in_pages, database, user_id).run(change, "factors_reset")


ROUTES = (change_profile, change_roles, disable, enable, delete, end_sessions, revoke_key, reset_factors)
