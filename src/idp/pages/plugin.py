"""Plugin of the pages: signing in, consent, mail links; documentation and error codes."""

from litestar.config.app import AppConfig

from idp.authn.introspection import Introspector
from idp.ops.origins import AllowedOrigins
from idp.pages import (
    account_pages,
    authorize_routes,
    brand,
    consent_page,
    docs,
    federation_routes,
    link_account_page,
    login_page,
    logout_routes,
    not_found,
    passkey_login,
    register_page,
    routes,
    second_factor_page,
    set_up_page,
    support,
)
from idp.pages.account import ROUTES as ACCOUNT_ROUTES
from idp.pages.admin import ROUTES as ADMIN_ROUTES
from idp.pages.brand import load_brand
from idp.pages.home_page import home_page
from idp.pages.schema import OpenApiDocument, openapi_config
from idp.pages.signed_in import SignedInPages
from idp.pages.waiting_requests import WaitingRequests
from idp.plugin import Plugin
from idp.sessions.form_tokens import FormTokens
from idp.settings import LoadedSettings
from idp.signing.proof_keys import ProofKeys

_ROUTES = (
    *docs.ROUTES,
    *routes.ROUTES,
    *brand.ROUTES,
    *account_pages.ROUTES,
    *login_page.ROUTES,
    *passkey_login.ROUTES,
    *register_page.ROUTES,
    *consent_page.ROUTES,
    *authorize_routes.ROUTES,
    *federation_routes.ROUTES,
    *link_account_page.ROUTES,
    *logout_routes.ROUTES,
    *second_factor_page.ROUTES,
    *set_up_page.ROUTES,
    *ACCOUNT_ROUTES,
    *support.ROUTES,
    *ADMIN_ROUTES,
)


class PagesPlugin(Plugin):
    """Serves the pages.

    Args:
        public_url: where clients reach the service.
        loaded: the brand; and all settings, for administrators.
        proofs: keys of unstored proofs.
        origins: our own URL.
        introspector: decides about the session cookie.
        signed_in_pages: opens the pages of the account and the administration.
        dev_headers: whether X-User-Email authenticates, for the documentation.

    Attributes:
        document: the OpenAPI document.

    Raises:
        SettingsError: the logo cannot be used.
    """

    def __init__(
        self,
        public_url: str,
        loaded: LoadedSettings,
        proofs: ProofKeys,
        origins: AllowedOrigins,
        introspector: Introspector,
        signed_in_pages: SignedInPages,
        *,
        dev_headers: bool,
    ) -> None:
        self._introspector = introspector
        self._public_url = public_url
        self._dev_headers = dev_headers
        self._brand = load_brand(loaded.settings.pages)
        self._form_tokens = FormTokens(proofs, origins)
        self._waiting_requests = WaitingRequests(origins)
        self.document = OpenApiDocument()
        self.routes = (*_ROUTES, *docs.asset_routers(), docs.htmx_router())
        self.provides = {
            "openapi_document": self.document,
            "form_tokens": self._form_tokens,
            "waiting_requests": self._waiting_requests,
            "brand": self._brand,
            "loaded_settings": loaded,
            "signed_in_pages": signed_in_pages,
        }

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        config = openapi_config(public_url=self._public_url, dev_headers=self._dev_headers)
        app_config.openapi_config = docs.serve(config, self.document)
        app_config.state["brand"] = self._brand
        app_config.state["waiting_requests"] = self._waiting_requests
        app_config.state["show_home"] = home_page(self._introspector, self._form_tokens)
        app_config.exception_handlers.update(not_found.HANDLERS)
        return super().on_app_init(app_config)
