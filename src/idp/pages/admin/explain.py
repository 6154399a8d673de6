"""The page /admin/explain: why a credential was accepted or refused, and what a user may do.

The credential is in the body of a POST only; neither the page nor a log nor an address shows it.
"""

from collections.abc import Mapping

from litestar.di import NamedDependency

from idp.authn.explain import Explainer
from idp.authn.explain_for_caller import ExplainPerson, explain_for, explain_person
from idp.authn.explain_shapes import ExplainIn
from idp.authn.resolve import Resolver
from idp.db.engine import Database
from idp.errors import IdpError, UserNotFound
from idp.ops.problems import invalid
from idp.pages.admin.routes import Entered, Page, admin_form, admin_page, problem_text, text_of, values
from idp.pages.signed_in import SignedInPages, Visitor, show
from idp.principal.requests import AnyRequest
from idp.users import administration

_PATH = "/admin/explain"


@admin_page(_PATH)
async def explain(request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages]) -> Page:
    """Ask for a credential, or for a user and a route."""
    visitor = await signed_in_pages.open(request, admin=True)
    entered = {"person": text_of(request, "user")} | dict(visitor.draft)
    return _show(request, visitor, entered=entered)


@admin_form(f"{_PATH}/credential")
async def explain_credential(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    explainer: NamedDependency[Explainer],
    database: NamedDependency[Database],
) -> Page:
    """Explain a credential."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, admin=True)
    try:
        if not form.get("credential", "").strip():
            raise invalid(["body", "credential"], "")
        fields = {"token": form["credential"].strip(), "route": form.get("route", "").strip()}
        found = await explain_for(request, explainer, database, values(fields, ExplainIn))
    except IdpError as error:
        return _show(request, visitor, entered=form, problem=problem_text(request, error))
    return _show(request, visitor, entered=form, found=found)


@admin_form(f"{_PATH}/user")
async def explain_user(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    explainer: NamedDependency[Explainer],
    resolver: NamedDependency[Resolver],
    database: NamedDependency[Database],
) -> Page:
    """Explain what a user may do, and whether a route would admit them."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, admin=True)
    try:
        async with database.transaction() as session:
            user_id = await administration.find_id(session, form.get("person", "").strip())
        if user_id is None:
            raise UserNotFound
        about = ExplainPerson(user_id, form.get("person_route", "").strip() or None)
        person = await explain_person(request, explainer, resolver, database, about)
    except IdpError as error:
        return _show(request, visitor, entered=form, problem=problem_text(request, error))
    return _show(request, visitor, entered=form, person=person)


def _show(
    request: AnyRequest,
    visitor: Visitor,
    *,
    entered: Mapping[str, str],
    problem: str | None = None,
    found: object = None,
    person: object = None,
) -> Page:
    kept = Entered({name: text for name, text in entered.items() if name != "credential"})
    return show(
        request,
        "admin/explain.html",
        visitor,
        section="admin_explain",
        status=422 if problem else 200,
        entered=kept,
        problem=problem,
        found=found,
        person=person,
    )


ROUTES = (explain, explain_credential, explain_user)
