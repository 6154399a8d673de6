"""What the pages of teams and of domains share: a list, and the members of one."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from msgspec import Struct

from idp.db.engine import Database
from idp.directory.groups import Groups
from idp.directory.management import Management
from idp.directory.members import Members
from idp.errors import IdpError, UserNotFound
from idp.pages.admin.routes import (
    PAGE_SIZE,
    Answer,
    Entered,
    Page,
    done,
    link,
    problem_text,
    text_of,
    values,
    wants_part,
)
from idp.pages.signed_in import SignedInPages, Visitor, show
from idp.principal.requests import AnyRequest
from idp.users import administration

Out = TypeVar("Out", bound=Struct)
Form = Mapping[str, str]


_CHOICES = 500  # parents to choose from
_MAX_DEPTH = 6  # shown


class Kind(NamedTuple, Generic[Out]):
    """Teams or domains.

    Attributes:
        path: of the list.
        section: of the navigation.
        groups: read here.
        members: read here.
        management: changes them.
        new: the fields of a new one, as the API reads them.
        change: the fields of a change.
        fields: the names of the fields that a form may have.
        nullable: those that a change may empty.
        list_template: of the list.
    """

    path: str
    section: str
    groups: Groups[Any, Any]
    members: Members[Any, Any]
    management: Management[Any, Any]
    new: type[Struct]
    change: type[Struct]
    fields: tuple[str, ...]
    nullable: tuple[str, ...]
    list_template: str


class GroupPages:
    """The pages of teams, or of domains.

    Args:
        kind: which.
        request: of the page or form.
        signed_in_pages: opens pages.
        database: the database.
    """

    def __init__(
        self, kind: Kind[Any], request: AnyRequest, signed_in_pages: SignedInPages, database: Database
    ) -> None:
        self._kind, self._request = kind, request
        self._signed_in_pages, self._database = signed_in_pages, database

    async def list(self) -> Page:
        """Show the list."""
        visitor = await self._signed_in_pages.open(self._request, admin=True)
        return await self._show_list(visitor, entered=visitor.draft)

    async def create(self) -> Answer:
        """Create one from a form of the list."""
        kind = self._kind
        visitor, form = await self._signed_in_pages.submit(self._request, page=kind.path, admin=True)
        try:
            new = values({name: form.get(name, "").strip() for name in kind.fields}, kind.new)
            created = await kind.management.create(self._request, self._database, new)
        except IdpError as error:
            return await self._show_list(visitor, entered=form, problem=problem_text(self._request, error))
        return done(f"{kind.path}/{created.id}", "created")

    async def open(self, group_id: UUID) -> Page:
        """Show one with its members."""
        visitor = await self._signed_in_pages.open(self._request, admin=True)
        return await self._show_one(visitor, group_id, entered=visitor.draft)

    async def change(self, group_id: UUID) -> Answer:
        """Change one."""
        kind = self._kind

        async def action(form: Form) -> None:
            given: dict[str, str | None] = {name: form[name].strip() for name in kind.fields if name in form}
            emptied: dict[str, str | None] = {name: None for name in kind.nullable if given.get(name) == ""}
            change = values(given | emptied, kind.change)
            await kind.management.change(self._request, self._database, group_id, change)

        return await self._run(group_id, action, "saved")

    async def activate(self, group_id: UUID, *, is_active: bool) -> Answer:
        """Activate or deactivate one."""
        kind = self._kind

        async def action(_form: Form) -> None:
            change = values({"is_active": is_active}, kind.change)
            await kind.management.change(self._request, self._database, group_id, change)

        return await self._run(group_id, action, "saved", fresh=not is_active)

    async def put_member(self, group_id: UUID) -> Answer:
        """Add a member by address or id, or change a role."""

        async def action(form: Form) -> None:
            async with self._database.transaction() as session:
                user_id = await administration.find_id(session, form.get("member", "").strip())
            if user_id is None:
                raise UserNotFound
            role: Any = "admin" if form.get("team_role") == "admin" else "member"
            await self._kind.management.put_member(self._request, self._database, group_id, user_id, role=role)

        return await self._run(group_id, action, "member_saved")

    async def remove_member(self, group_id: UUID) -> Answer:
        """Remove a member."""

        async def action(form: Form) -> None:
            user_id = form.get("user_id", "")
            await self._kind.management.remove_member(self._request, self._database, group_id, user_id)

        return await self._run(group_id, action, "member_removed")

    async def _run(
        self, group_id: UUID, action: Callable[[Form], Awaitable[None]], name: str, *, fresh: bool = False
    ) -> Answer:
        page = f"{self._kind.path}/{group_id}"
        visitor, form = await self._signed_in_pages.submit(self._request, page=page, admin=True, fresh=fresh)
        try:
            await action(form)
        except IdpError as error:
            problem = problem_text(self._request, error)
            return await self._show_one(visitor, group_id, entered=form, problem=problem)
        return done(page, name)

    async def _show_list(self, visitor: Visitor, *, entered: Form, problem: str | None = None) -> Page:
        kind, request = self._kind, self._request
        search, after = text_of(request, "q"), text_of(request, "after")
        async with self._database.transaction() as session:
            found, more = await kind.groups.list_after(
                session, search=search or None, after=after or None, limit=PAGE_SIZE
            )
        return show(
            request,
            "admin/_groups.html" if wants_part(request) else kind.list_template,
            visitor,
            section=kind.section,
            status=422 if problem else 200,
            path=kind.path,
            groups=_as_tree(found),
            choices=[each for each in found if each.is_active],
            search=search,
            entered=Entered(entered),
            problem=problem,
            first=link(kind.path, q=search) if after else None,
            following=link(kind.path, q=search, after=more) if more else None,
        )

    async def _show_one(self, visitor: Visitor, group_id: UUID, *, entered: Form, problem: str | None = None) -> Page:
        kind, request = self._kind, self._request
        after, here = text_of(request, "after"), f"{kind.path}/{group_id}"
        async with self._database.transaction() as session:
            group = await kind.groups.get(session, group_id)
            choices, _ = await kind.groups.list_after(session, search=None, after=None, limit=_CHOICES)
            members, more = await kind.members.list_after(session, group_id, after=after or None, limit=PAGE_SIZE)
        return show(
            request,
            "admin/_members.html" if wants_part(request) else "admin/group.html",
            visitor,
            section=kind.section,
            status=422 if problem else 200,
            path=kind.path,
            group=group,
            choices=[each for each in choices if each.id != group_id],
            members=members,
            entered=Entered(entered),
            problem=problem,
            first=here if after else None,
            following=link(here, after=more) if more else None,
        )


def _as_tree(found: list[Any]) -> list[tuple[Any, int]]:
    """Return groups with their depth, children behind their parent; without one on this page they are at the top."""
    below: dict[UUID | None, list[Any]] = {}
    ids = {each.id for each in found}
    for each in found:
        parent = getattr(each, "parent_domain_id", None)
        below.setdefault(parent if parent in ids else None, []).append(each)

    def walk(parent: UUID | None, depth: int) -> list[tuple[Any, int]]:
        children = [((each, min(depth, _MAX_DEPTH)), walk(each.id, depth + 1)) for each in below.get(parent, [])]
        return [line for own, inner in children for line in (own, *inner)]

    return walk(None, 0)
