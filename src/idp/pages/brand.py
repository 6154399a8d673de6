"""The brand of the pages: a name, a logo and an accent colour, from the section `[pages]` of the settings."""

import hashlib
import re
from pathlib import Path

from litestar import Response, get
from litestar.di import NamedDependency
from msgspec import Struct

from idp.errors import NotFound
from idp.pages.colours import shades
from idp.principal.guards import public
from idp.settings import SettingsError
from idp.settings_schema import Pages

_MAX_BYTES = 262_144
_PNG = b"\x89PNG\r\n\x1a\n"
_SVG = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<svg[\s>]", re.DOTALL)
_CACHED = "public, max-age=31536000, immutable"  # the address changes with the content
# An SVG that is opened by itself runs no script and loads nothing.
_LOGO_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_THEME = (
    ":root {{ --accent: {light.text}; --button: {light.button}; --on-button: {light.on_button}; "
    "--press: {light.pressed}; }}\n"
    "@media (prefers-color-scheme: dark) {{ :root {{ --accent: {dark.text}; --button: {dark.button}; "
    "--on-button: {dark.on_button}; --press: {dark.pressed}; }} }}\n"
)


class Logo(Struct, frozen=True):
    """An image, as it is served."""

    content: bytes
    media_type: str

    @property
    def version(self) -> str:
        """A short digest of the content, for its address."""
        return _digest(self.content)


class Brand(Struct, frozen=True):
    """What the pages show of the operator.

    Attributes:
        name: in headings and titles.
        logo: before the name; None for the service's own sign.
        theme: style sheet of the accent, None for the built-in one.
    """

    name: str
    logo: Logo | None = None
    theme: str | None = None

    @property
    def theme_version(self) -> str:
        """A short digest of the style sheet, for its address."""
        return _digest((self.theme or "").encode())


def load_brand(settings: Pages) -> Brand:
    """Return the brand that the settings describe.

    Raises:
        SettingsError: the logo cannot be read, is too large, or is neither SVG nor PNG.
    """
    logo = _read_logo(Path(settings.logo)) if settings.logo else None
    theme = None
    if settings.accent is not None:
        theme = _THEME.format(light=shades(settings.accent, dark=False), dark=shades(settings.accent, dark=True))
    return Brand(settings.name, logo, theme)


def _read_logo(path: Path) -> Logo:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            [f"pages.logo: {path} cannot be read ({error.strerror}): name an SVG or PNG file."]
        ) from None
    if len(content) > _MAX_BYTES:
        raise SettingsError([f"pages.logo: {path} is larger than {_MAX_BYTES // 1024} KiB: use a smaller image."])
    if content.startswith(_PNG):
        return Logo(content, "image/png")
    if _SVG.match(content.removeprefix(b"\xef\xbb\xbf")):
        return Logo(content, "image/svg+xml")
    raise SettingsError([f"pages.logo: {path} is neither an SVG nor a PNG image."])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


@get("/brand/logo", opt=public(), include_in_schema=False, sync_to_thread=False)
def logo(brand: NamedDependency[Brand]) -> Response[bytes]:
    """The logo of the settings."""
    if brand.logo is None:
        raise NotFound("No logo is configured: set pages.logo.")
    headers = {"Cache-Control": _CACHED, "Content-Security-Policy": _LOGO_POLICY}
    return Response(brand.logo.content, media_type=brand.logo.media_type, headers=headers)


@get("/brand/theme.css", opt=public(), include_in_schema=False, sync_to_thread=False)
def theme(brand: NamedDependency[Brand]) -> Response[str]:
    """The colours of the settings; empty for the built-in ones."""
    return Response(brand.theme or "", media_type="text/css", headers={"Cache-Control": _CACHED})


ROUTES = (logo, theme)
