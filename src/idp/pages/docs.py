"""GET /docs and the OpenAPI document (C-17): Swagger UI from a wheel, every asset from this service."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from litestar import Request, Response, Router, get
from litestar.datastructures import CacheControlHeader, ResponseHeader
from litestar.di import NamedDependency
from litestar.enums import OpenAPIMediaType
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.static_files import create_static_files_router
from swagger_ui_bundle import swagger_ui_path

from idp.errors import NotFound
from idp.ops.public_prefix import prefixed
from idp.pages.rendering import FOLDER, POLICY, page, render
from idp.pages.schema import OpenApiDocument
from idp.principal.guards import public

# Swagger UI writes style attributes; scripts are loaded only from this service.
_POLICY = POLICY + " 'unsafe-inline'"
_GATEWAY = "/api/auth"  # a gateway may let only this prefix through (S4-45)
_HEADERS = [
    ResponseHeader(name="Content-Security-Policy", value=_POLICY),
    ResponseHeader(name="Cache-Control", value="no-cache"),
]


class DocsPage(OpenAPIRenderPlugin):
    """Renders Swagger UI, as a Litestar render plugin."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        """Return the page, which loads the completed document."""
        return render("docs.html", _values("")).encode()


class CompletedDocument(OpenAPIRenderPlugin):
    """Serves the completed document instead of the framework's.

    Args:
        document: completes it.
    """

    def __init__(self, document: OpenApiDocument) -> None:
        super().__init__(path="/openapi.json", media_type=OpenAPIMediaType.OPENAPI_JSON)
        self._document = document

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        """Return the document as JSON."""
        return self._document.encoded(request.app)


def serve(config: OpenAPIConfig, document: OpenApiDocument) -> OpenAPIConfig:
    """Return the configuration that serves /docs."""
    config.openapi_router = Router(
        "/docs",
        route_handlers=[],
        opt=public(),
        include_in_schema=False,
        response_headers=_HEADERS,
        after_request=_problem_instead_of_page,
    )
    config.render_plugins = [DocsPage(), CompletedDocument(document)]
    return config


def _problem_instead_of_page(response: Response[Any]) -> Response[Any]:
    """Answer unknown paths below /docs with our 404 instead of the framework's page."""
    if response.status_code == NotFound.status:
        raise NotFound
    return response


def _values(root: str) -> dict[str, Any]:
    return {"root": prefixed(f"{root}/docs"), "schema": prefixed(f"{root}/openapi.json")}


@get(f"{_GATEWAY}/docs", opt=public(), include_in_schema=False, sync_to_thread=False)
def gateway_docs() -> Response[str]:
    """The same page below the gateway's prefix."""
    return page("docs.html", policy=_POLICY, **_values(_GATEWAY))


@get(["/openapi.json", f"{_GATEWAY}/openapi.json"], opt=public(), include_in_schema=False, sync_to_thread=False)
def openapi(request: Request[Any, Any, Any], openapi_document: NamedDependency[OpenApiDocument]) -> Response[bytes]:
    """The OpenAPI document (S4-44)."""
    headers = {"Cache-Control": "no-cache"}
    return Response(openapi_document.encoded(request.app), media_type="application/json", headers=headers)


def asset_routers() -> list[Router]:
    """Return routers for our assets and Swagger UI's, below both paths of the documentation."""
    return [
        create_static_files_router(
            path=f"{root}/docs/assets",
            directories=[FOLDER / "static", Path(str(swagger_ui_path))],
            opt=public(),
            include_in_schema=False,
            name=f"assets{root.replace('/', '-')}",
            cache_control=CacheControlHeader(no_cache=True),  # kept, and revalidated by its ETag
        )
        for root in ("", _GATEWAY)
    ]


def htmx_router() -> Router:
    """Return the router for htmx, from a wheel."""
    found = find_spec("js_lib_htmx")
    assert found is not None
    assert found.origin is not None
    return create_static_files_router(
        path="/docs/htmx",
        directories=[Path(found.origin).parent / "static" / "htmx"],
        opt=public(),
        include_in_schema=False,
        name="htmx",
        cache_control=CacheControlHeader(no_cache=True),
    )


ROUTES = (gateway_docs, openapi)
