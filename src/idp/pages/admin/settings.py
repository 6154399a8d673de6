"""The page /admin/settings: every setting as it is effective, and where it comes from. Secrets are hidden."""

from collections.abc import Mapping
from typing import Any

from litestar.di import NamedDependency
from msgspec import Struct

from idp.pages.admin.routes import Page, admin_page, text_of
from idp.pages.signed_in import SignedInPages, show
from idp.principal.requests import AnyRequest
from idp.settings import LoadedSettings, fields, shown_value, value_of


class EffectiveSetting(Struct, frozen=True):
    """A setting.

    Attributes:
        name: such as `server.port`.
        value: in words; hidden for secrets.
        source: a file or variable; `default` for the built-in value.
    """

    name: str
    value: str
    source: str

    @property
    def is_own(self) -> bool:
        """Whether this deployment chose it: it comes neither from the code nor from the file of defaults."""
        return self.source not in {"default", "config/idp.toml"}


@admin_page("/admin/settings")
async def settings_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    loaded_settings: NamedDependency[LoadedSettings],
) -> Page:
    """List settings whose name or value has the text that is searched for."""
    visitor = await signed_in_pages.open(request, admin=True)
    search, changed = text_of(request, "q").lower(), text_of(request, "changed") == "yes"
    found = [
        each
        for each in _effective(loaded_settings)
        if (search in each.name or search in each.value.lower()) and not (changed and not each.is_own)
    ]
    sections: dict[str, list[EffectiveSetting]] = {}
    for each in found:
        sections.setdefault(each.name.partition(".")[0], []).append(each)
    return show(
        request,
        "admin/settings.html",
        visitor,
        section="admin_settings",
        sections=sections,
        search=search,
        changed=changed,
        profile=loaded_settings.profile,
    )


def _effective(loaded: LoadedSettings) -> list[EffectiveSetting]:
    return [
        EffectiveSetting(
            path, _in_words(shown_value(value_of(loaded.settings, path))), loaded.sources.get(path, "default")
        )
        for path, _kind in fields()
    ]


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{name}: {shown}" for name, shown in value.items()]
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


ROUTES = (settings_page,)
