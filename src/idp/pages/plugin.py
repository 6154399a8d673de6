"""Plugin of the pages: documentation, error codes and the forms of mail links."""

from litestar.config.app import AppConfig

from idp.pages import account_pages, authorize_routes, docs, routes
from idp.pages.schema import OpenApiDocument, openapi_config
from idp.plugin import Plugin


class PagesPlugin(Plugin):
    """Serves the pages.

    Args:
        public_url: where clients reach the service.
        dev_headers: whether X-User-Email authenticates, for the documentation.

    Attributes:
        document: the OpenAPI document.
    """

    def __init__(self, public_url: str, *, dev_headers: bool) -> None:
        self._public_url = public_url
        self._dev_headers = dev_headers
        self.document = OpenApiDocument()
        self.routes = (
            *docs.ROUTES,
            *routes.ROUTES,
            *account_pages.ROUTES,
            *authorize_routes.ROUTES,
            *docs.asset_routers(),
        )
        self.provides = {"openapi_document": self.document}

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        config = openapi_config(public_url=self._public_url, dev_headers=self._dev_headers)
        app_config.openapi_config = docs.serve(config, self.document)
        return super().on_app_init(app_config)
