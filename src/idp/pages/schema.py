"""Build the OpenAPI document: general part, credentials and errors of every route."""

import re
from typing import Any, get_args

import msgspec
from litestar import Litestar
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, License, SecurityScheme, Server, Tag
from litestar.types import Method

from idp import __version__, errors
from idp.errors import IdpError
from idp.ops.openapi import example
from idp.ops.problems import MEDIA_TYPE, OAuthError, oauth_code, speaks_oauth
from idp.ops.public_prefix import prefix_of
from idp.pages.operations import describe_alias, operation_id
from idp.principal.guards import policies

_DESCRIPTION = """
An identity service: it authenticates users and machines, and returns one principal with roles, teams and domains.

**To try it here:** run *login* with an address and a password, copy `access_token`, press **Authorize**, paste it into
*bearer*.{in_development}

Every error is a problem document (RFC 9457) with a `code`; [all codes]({prefix}/errors) are explained.
"""
_IN_DEVELOPMENT = " Or put an address into *devEmail*, without any password: that works in development only."
_BEARER = "bearer"
_DEV_EMAIL = "devEmail"


def openapi_config(*, public_url: str, dev_headers: bool) -> OpenAPIConfig:
    """Return the OpenAPI document's general part.

    Args:
        public_url: the service's public URL.
        dev_headers: whether X-User-Email is accepted.
    """
    schemes = {
        _BEARER: SecurityScheme(
            type="http",
            scheme="bearer",
            bearer_format="JWT",
            description="The access token that login answers.",
        )
    }
    if dev_headers:
        schemes[_DEV_EMAIL] = SecurityScheme(
            type="apiKey",
            security_scheme_in="header",
            name="X-User-Email",
            description="Development only: be this person, without a password.",
        )
    return OpenAPIConfig(
        title="idp",
        version=__version__,
        description=_DESCRIPTION.format(
            prefix=prefix_of(public_url), in_development=_IN_DEVELOPMENT if dev_headers else ""
        ).strip(),
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        servers=[Server(url=prefix_of(public_url) or "/", description=public_url)],
        components=Components(security_schemes=schemes),  # type: ignore[arg-type]
        use_handler_docstrings=True,
        operation_id_creator=_unique_id,
        tags=[
            Tag(name="Accounts", description="Register, sign in, verify and change the e-mail address and password."),
            Tag(name="Authentication", description="Validate a credential, or read your own profile."),
            Tag(name="API keys", description="Your own keys, for scripts and devices."),
            Tag(name="Service tokens", description="Credentials of services; they need management."),
            Tag(name="Teams", description="Teams and their members."),
            Tag(name="Domains", description="Business domains and their users."),
            Tag(name="Webhooks", description="Incoming: called by other services, which sign their messages."),
            Tag(name="Administration", description="For administrators."),
            Tag(
                name="Events", description="Changes of users, teams, domains, keys and sessions: a feed, and webhooks."
            ),
            Tag(name="OAuth", description="Access tokens for clients, and their administration."),
            Tag(name="Operations", description="For probes and monitoring."),
        ],
    )


def _unique_id(handler: BaseRouteHandler, method: Method, components: list[str | Any]) -> str:
    """Return an id that is unique in the framework's document; `build` replaces it."""
    path = "/".join(part if isinstance(part, str) else f"{{{part.name}}}" for part in components)
    return f"{method} /{path} {handler.handler_name}"


# Errors that every route can return, by its kind of credential.
_ALWAYS: tuple[type[IdpError], ...] = (errors.HeadersTooLarge,)
_WITH_CREDENTIAL: tuple[type[IdpError], ...] = (
    errors.AmbiguousCredentials,
    errors.Unauthenticated,
    errors.TokenInvalid,
    errors.TokenExpired,
    errors.UserInactive,
    errors.CredentialNotAccepted,
    errors.DatabaseUnavailable,
)
_WITH_PARAMETERS: tuple[type[IdpError], ...] = (errors.ValidationFailed,)
_WITH_BODY: tuple[type[IdpError], ...] = (
    errors.MalformedJson,
    errors.ValidationFailed,
    errors.RequestTimeout,
    errors.BodyTooLarge,
    errors.UnsupportedMediaType,
)


def build(app: Litestar) -> dict[str, Any]:
    """Return the framework's OpenAPI document, completed with each route's credentials and errors.

    The framework documents its own error shape and does not know our policies. Both are corrected here, from the data
    that the running service uses.
    """
    schema: dict[str, Any] = app.openapi_schema.to_schema()
    policy = {(line.path, line.method): line.policy for line in policies(app)}
    paths = {route.path_format or "/": route.path for route in app.routes}
    schemes = list(schema["components"]["securitySchemes"])
    for template, item in schema["paths"].items():
        for method, operation in item.items():
            policy_text = policy[paths[template], method.upper()]
            is_open = policy_text == "public"
            route, handler = (method.upper(), template), re.split(r"[. ]", operation["operationId"])[-1]
            operation["operationId"] = operation_id(handler, route)
            operation["security"] = [] if is_open else [{name: []} for name in schemes]
            if not is_open:
                operation["description"] = f"{operation.get('description', '')}\n\nWho may call: {policy_text}.".strip()
            if " " not in operation["summary"]:  # the framework's, derived from the function's name
                operation["summary"] = re.split(r"[.:;]", operation["description"])[0]
            if (alias := describe_alias(route)) is not None:
                sentence, operation["deprecated"] = alias
                operation["description"] = f"{operation.get('description', '')}\n\n{sentence}".strip()
            _add_errors(operation, is_open=is_open)
            if speaks_oauth(template):
                operation["responses"] = _in_oauth(operation["responses"])
    _complete_bodies(app, schema)
    return schema


def _complete_bodies(app: Litestar, schema: dict[str, Any]) -> None:
    """Complete bodies: types of list items, whether unknown members are refused (C-16), whether a body is optional."""
    shapes = schema["components"]["schemas"]
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            field = handler.parsed_data_field
            if field is None:
                continue
            for shape in get_args(field.annotation) or (field.annotation,):
                if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
                    _complete_shape(shape, shapes)
            if field.is_optional:
                for operation in schema["paths"][route.path_format].values():
                    operation.get("requestBody", {})["required"] = False


def _complete_shape(shape: type[msgspec.Struct], shapes: dict[str, Any]) -> None:
    if shape.__struct_config__.forbid_unknown_fields:
        shapes[shape.__name__]["additionalProperties"] = False
    whole = msgspec.json.schema_components([shape])[1][shape.__name__]
    for name, member in shapes[shape.__name__].get("properties", {}).items():
        for part in (member, *member.get("oneOf", ()), *member.get("anyOf", ())):
            if "items" in part:
                part["items"] = whole["properties"][name].get("items", part["items"])


def _add_errors(operation: dict[str, Any], *, is_open: bool) -> None:
    answers: dict[str, Any] = operation["responses"]
    for answer in answers.values():
        for content in answer.get("content", {}).values():
            for shown in content.get("examples", {}).values():
                shown.pop("id", None)  # the framework's own, unknown to OpenAPI
    if "application/json" in answers.get("400", {}).get("content", {}):
        answers.pop("400", None)  # the framework's own shape, which the service never returns
    kinds = [*_ALWAYS, *(() if is_open else _WITH_CREDENTIAL)]
    kinds += _WITH_PARAMETERS if operation.get("parameters") else ()
    kinds += _WITH_BODY if operation.get("requestBody") else ()
    for kind in kinds:
        answer = answers.setdefault(str(kind.status), {"description": "", "content": {MEDIA_TYPE: {}}})
        content = answer["content"].setdefault(MEDIA_TYPE, {})
        content.setdefault("schema", {"$ref": "#/components/schemas/Problem"})
        examples = content.setdefault("examples", {})
        if kind.code not in examples:
            examples[kind.code] = {"summary": kind.title, "value": example(kind)}
            parts = [answer["description"], f"`{kind.code}`: {kind.title}"]
            answer["description"] = "; ".join(part for part in parts if part)


def _in_oauth(responses: dict[str, Any]) -> dict[str, Any]:
    """Return the responses of an OAuth endpoint: errors of RFC 6749, and 400 instead of 422 (C-16)."""
    answers = {status: answer for status, answer in responses.items() if MEDIA_TYPE not in answer.get("content", {})}
    for status, answer in responses.items():
        if MEDIA_TYPE in answer.get("content", {}):
            said = answers.setdefault("400" if status == "422" else status, {"description": "", "content": {}})
            said["description"] = "; ".join(part for part in (said["description"], answer["description"]) if part)
            examples = said["content"].setdefault("application/json", {"schema": _OAUTH_ERROR, "examples": {}})
            for code, shown in answer["content"][MEDIA_TYPE].get("examples", {}).items():
                value = shown["value"]
                names = {"error": oauth_code(value["status"]), "error_description": value["detail"]}
                value = {**names, "code": value["code"], "remedy": value["remedy"], "request_id": value["request_id"]}
                examples["examples"][code] = {"summary": shown["summary"], "value": value}
    return answers


_OAUTH_ERROR = msgspec.json.schema_components([OAuthError], ref_template="#/components/schemas/{name}")[1]["OAuthError"]


class OpenApiDocument:
    """The document of one application, built on first request."""

    def __init__(self) -> None:
        self._encoded: bytes | None = None
        self._sample_login: dict[str, str] | None = None

    def show_login(self, email: str, password: str) -> None:
        """Use a demo user in the example of login, so that it works unchanged; for `idp dev`."""
        self._sample_login = {"email": email, "password": password}
        self._encoded = None

    def encoded(self, app: Litestar) -> bytes:
        """Return the document of this application as JSON."""
        if self._encoded is None:
            schema = build(app)
            if self._sample_login is not None:
                schema["components"]["schemas"]["LoginIn"]["example"] = self._sample_login
            self._encoded = msgspec.json.encode(schema)
        return self._encoded
