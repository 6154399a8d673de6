"""Explain a decision about a credential: who owned it, each check, where each right comes from, and a route's policy.

The decision is made by the code that enforces it (`introspection.py`, the middleware, the guards), which reports its
checks (`idp/checks.py`); here they are only put into words.
"""

from collections.abc import Sequence
from typing import cast
from uuid import UUID

from litestar import Litestar
from msgspec import Struct

from idp.authn.credential import Headers, Presented, from_headers
from idp.authn.explain_shapes import (
    Asked,
    AskedAuthenticator,
    ExplainedCredential,
    ExplainedRoute,
    ExplainedUser,
    ExplainedVerdict,
    Explanation,
    VerdictOrigin,
)
from idp.authn.introspection import Introspector
from idp.authn.rights import Right, Rights
from idp.authn.route_admission import Route, refusal
from idp.authn.verdicts import Verdict as Decided
from idp.checks import Check, Step, Trace
from idp.errors import AmbiguousCredentials, IdpError
from idp.principal.guards import changes_or_manages, is_public
from idp.principal.model import Principal
from idp.sessions.cookie import SessionCookies

_NOT_ASKED = Step("", "not_asked", checks=[])


class Explained(Struct, frozen=True):
    """An explanation, and whose credential it is about.

    Attributes:
        explanation: the explanation.
        principal: the principal, if the credential was accepted.
        owners: whom the credential names by its signature or its row, such as `user:<id>`; also if it was rejected.
    """

    explanation: Explanation
    principal: Principal | None
    owners: frozenset[str]

    def is_about(self, caller: Principal) -> bool:
        """Whether the credential is the caller's own: it names the same user, identity or service."""
        return not self.owners.isdisjoint(_names_of(caller))


class Explainer:
    """Explains decisions.

    Args:
        introspector: decides.
        cookies: check CSRF tokens.
        rights: finds the origin of rights.
    """

    def __init__(self, introspector: Introspector, cookies: SessionCookies, rights: Rights) -> None:
        self._introspector = introspector
        self._cookies = cookies
        self._rights = rights

    async def of_headers(self, raw: Headers, route: Route | None, app: Litestar, *, client: str | None) -> Explained:
        """Explain a request with these headers. Arguments and errors as `of`."""
        raw = list(raw)
        try:
            presented = from_headers(raw)
        except AmbiguousCredentials as error:  # before any authenticator; a public route admits it nevertheless
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
            return await self._tell(Presented(headers=headers), Trace(), Decided(error=error), route, app)
        return await self.of(presented, route, app, client=client)

    async def of(self, presented: Presented, route: Route | None, app: Litestar, *, client: str | None) -> Explained:
        """Explain the decision about a credential.

        Args:
            presented: the credential.
            route: a route to explain, too.
            app: the application.
            client: the client's address, for the limit of bad credentials.

        Raises:
            RateLimited: as `Introspector.introspect`.
            IdpError: 503, the credential could not be checked.
        """
        trace = Trace()
        confirm = route is not None and not is_public(route.handler) and changes_or_manages(route.handler)
        verdict = await self._introspector.explain(presented, trace, client=client, confirm=confirm)
        if verdict.unknown:
            assert verdict.error is not None
            raise verdict.error
        return await self._tell(presented, trace, verdict, route, app)

    async def of_person(
        self, principal: Principal, route: Route | None, app: Litestar
    ) -> tuple[list[Right], ExplainedRoute | None]:
        """Explain the rights of a user, and whether a route would admit them, without any credential.

        Args:
            principal: the user, as right after a sign-in.
            route: a route to explain.
            app: the application.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        decided = Decided(principal=principal)
        told = await self._explain_route(route, app, Presented(headers={}), decided) if route else None
        return await self._rights.of(principal, None), told

    async def _tell(
        self, presented: Presented, trace: Trace, verdict: Decided, route: Route | None, app: Litestar
    ) -> Explained:
        principal = verdict.principal
        explanation = Explanation(
            verdict=_told(verdict.error),
            owner=next((step.name for step in trace.steps if step.outcome not in {"not_mine", ""}), None),
            authenticators=_asked(trace.steps, self._names),
            subject=_checks_of(trace.steps, "subject"),
            origin=_origin(trace, verdict),
            credential=_credential(principal),
            user=_person(principal),
            rights=await self._rights_of(principal, verdict.key),
            route=await self._explain_route(route, app, presented, verdict) if route else None,
        )
        names = _names_of(principal) if principal else frozenset()
        return Explained(explanation, principal, names | trace.proven)

    @property
    def _names(self) -> list[str]:
        return [each.name for each in self._introspector.chain.authenticators]

    async def _rights_of(self, principal: Principal | None, key: UUID | None) -> list[Right]:
        return await self._rights.of(principal, key) if principal else []

    async def _explain_route(
        self, route: Route, app: Litestar, presented: Presented, verdict: Decided
    ) -> ExplainedRoute:
        trace, error = Trace(), verdict.error
        if is_public(route.handler) or verdict.principal is not None:
            error = await refusal(route, app, self._cookies, presented, verdict.principal, trace)
        by_handler = error is None and "decided_by_handler" in route.handler.opt
        line = route.policy
        told = _told(error)
        return ExplainedRoute(
            method=route.method,
            path=route.path,
            template=route.template,
            policy=line.policy or "",
            accepts=sorted(line.accepts),
            admitted=None if by_handler else error is None,
            checks=_checks_of(trace.steps, "route"),
            status=told.status,
            code=told.code,
            detail=told.detail,
            remedy=told.remedy,
        )


def _names_of(principal: Principal) -> frozenset[str]:
    names = {principal.actor}
    if principal.credential.identity is not None:
        names.add("identity:{} {}".format(*principal.credential.identity))
    return frozenset(names)


def _told(error: IdpError | None) -> ExplainedVerdict:
    if error is None:
        return ExplainedVerdict(accepted=True)
    return ExplainedVerdict(
        accepted=False, status=error.status, code=error.code, detail=error.detail, remedy=error.remedy
    )


def _asked(steps: Sequence[Step], names: Sequence[str]) -> list[AskedAuthenticator]:
    by_name = {step.name: step for step in steps if step.outcome}
    asked = ((name, by_name.get(name, _NOT_ASKED)) for name in names)
    return [AskedAuthenticator(name, cast("Asked", step.outcome), step.code, step.checks) for name, step in asked]


def _checks_of(steps: Sequence[Step], name: str) -> list[Check]:
    return [check for step in steps if step.name == name and not step.outcome for check in step.checks]


def _origin(trace: Trace, verdict: Decided) -> VerdictOrigin:
    about_verdict = next((each for each in trace.readings if each.what == "verdict"), None)
    return VerdictOrigin(
        source=about_verdict.source if about_verdict else "database",  # type: ignore[arg-type]
        age_seconds=about_verdict.age_seconds if about_verdict else 0.0,
        readings=[each for each in trace.readings if each.what != "verdict"],
        decided_again=trace.again,
        agrees=trace.again in {None, verdict.outcome},
    )


def _credential(principal: Principal | None) -> ExplainedCredential | None:
    if principal is None:
        return None
    credential = principal.credential
    return ExplainedCredential(
        method=credential.method,
        id=credential.id,
        name=credential.name,
        client_id=credential.client_id,
        expires_at=credential.expires_at,
        signed_in_at=credential.auth_time,
        amr=credential.amr,
    )


def _person(principal: Principal | None) -> ExplainedUser | None:
    user = principal.user if principal else None
    return ExplainedUser(user.id, user.email, user.name) if user else None
