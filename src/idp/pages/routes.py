"""GET /docs, the OpenAPI document, and a page for every error code. All assets are bundled (C-17)."""

from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, Response, Router, get
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.static_files import create_static_files_router
from swagger_ui_bundle import swagger_ui_path

from idp.errors import NotFound, catalogue, phrase
from idp.ops.problems import document
from idp.ops.public_prefix import prefixed
from idp.pages.rendering import HERE, POLICY, page
from idp.pages.schema import OpenApiDocument
from idp.principal.guards import public

# Swagger UI writes style attributes; scripts remain restricted to our own.
_DOCS_POLICY = POLICY + " 'unsafe-inline'"
_ROOTS = ("", "/api/auth")  # a gateway may let only /api/auth through (S4-45)


@get([f"{root}/docs" for root in _ROOTS], opt=public(), include_in_schema=False, sync_to_thread=False)
def docs(request: Request[Any, Any, Any]) -> Response[str]:
    """Return the page with Swagger UI."""
    root = request.scope["path"].rstrip("/").removesuffix("/docs")
    return page(
        "docs.html", policy=_DOCS_POLICY, root=prefixed(f"{root}/docs"), schema=prefixed(f"{root}/openapi.json")
    )


@get([f"{root}/openapi.json" for root in _ROOTS], opt=public(), include_in_schema=False, sync_to_thread=False)
def openapi(openapi_document: NamedDependency[OpenApiDocument]) -> Response[bytes]:
    """The OpenAPI document (S4-44)."""
    return Response(
        openapi_document.encoded(),
        media_type="application/json",
        headers={"Cache-Control": "no-cache"},
    )


@get("/errors", opt=public(), include_in_schema=False, sync_to_thread=False)
def error_list() -> Response[str]:
    """List all error codes."""
    return page("errors.html", root=prefixed("/docs"), errors=list(catalogue().values()))


@get("/errors/{code:str}", opt=public(), include_in_schema=False, sync_to_thread=False)
def error_page(code: FromPath[str]) -> Response[str]:
    """Explain an error code; the `type` of every problem document links here."""
    error = catalogue().get(code)
    if error is None:
        raise NotFound("Unknown error code; /errors lists all codes.")
    body = document(error(), path="/auth/me", request_id="01990c7e-7f3b-7c1e-8a54-0f6f1d5a9a10")
    return page(
        "error.html",
        root=prefixed("/docs"),
        error=error,
        phrase=phrase(error.status),
        headers=list(error.default_headers.items()),
        example=msgspec.json.format(body, indent=2).decode(),
    )


def asset_routers() -> list[Router]:
    """Return routers for our assets and Swagger UI's, below every path of the documentation."""
    return [
        create_static_files_router(
            path=f"{root}/docs/assets",
            directories=[HERE / "static", Path(str(swagger_ui_path))],
            opt=public(),
            include_in_schema=False,
            name=f"assets{root.replace('/', '-')}",
            cache_control=CacheControlHeader(no_cache=True),  # cached, and revalidated by ETag
        )
        for root in _ROOTS
    ]


ROUTES = (docs, openapi, error_list, error_page)
