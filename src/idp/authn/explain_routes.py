"""POST /auth/explain: why a credential was accepted or refused."""

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from idp import errors
from idp.authn.explain import Explainer
from idp.authn.explain_for_caller import explain_for
from idp.authn.explain_shapes import ExplainIn, Explanation
from idp.db.engine import Database
from idp.ops.openapi import responses
from idp.principal.guards import accepts, accepts_shared_secret, requires_principal
from idp.principal.model import AuthMethod
from idp.principal.requests import UserRequest


@post(
    "/auth/explain",
    guards=[requires_principal],
    opt=accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN) | accepts_shared_secret(),
    tags=["Authentication"],
    summary="Explain a decision about a credential",
    status_code=200,
    responses=responses(errors.AdminRequired, errors.SharedSecretToken, errors.ValidationFailed, errors.RateLimited),
)
async def explain_credential(
    request: UserRequest,
    explainer: NamedDependency[Explainer],
    database: NamedDependency[Database],
    data: JSONBody[ExplainIn],
) -> Explanation:
    """Explain which authenticator owned a credential, every check, where each right comes from, and a route's policy.

    Everyone may explain their own credentials, administrators any; theirs about others are audited. A credential that
    cannot be proven to be the caller's, such as one with a wrong signature, is not theirs. Limited as validate is.
    """
    return await explain_for(request, explainer, database, data)


ROUTES = (explain_credential,)
