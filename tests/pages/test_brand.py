"""The brand of the pages: what settings are accepted, and that every colour can be read."""

import re
from pathlib import Path

import pytest

from factories import running
from idp.dev.embedded import EmbeddedPostgres
from idp.pages.brand import load_brand
from idp.pages.colours import BLACK, DARK_SURFACE, LIGHT_SURFACE, READABLE, WHITE, contrast, shades
from idp.settings import SettingsError, load
from idp.settings_schema import Pages
from pages.visitor import Visitor

STATIC = Path(__file__).parents[2] / "src" / "idp" / "pages" / "static"
SVG = '<?xml version="1.0"?>\n<!-- ours -->\n<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
ACCENTS = ["#0a7d4b", "#ffde00", "#000000", "#ffffff", "#808080", "#e4002b", "#00ffff", "#1a1aff", "#767676"]


def palette(theme: str) -> dict[str, str]:
    """Return the colours of a theme in page.css and forms.css."""
    found: dict[str, str] = {}
    for name in ("page.css", "forms.css"):
        text = (STATIC / name).read_text()
        light, _, dark = text.partition("@media (prefers-color-scheme: dark)")
        found |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", light if theme == "light" else dark[:600]))
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_built_in_colours_can_be_read(theme: str) -> None:
    """WCAG 2.2, 1.4.3 and 1.4.11 (AA)."""
    colours = palette(theme)
    for text in ("ink", "soft", "accent", "ok", "warn", "bad"):
        for surface in ("paper", "ground"):
            assert contrast(colours[text], colours[surface]) >= READABLE, (text, surface)
    for button in ("button", "press"):
        assert contrast(colours["on-button"], colours[button]) >= READABLE, button
    for surface in ("paper", "ground"):
        assert contrast(colours["edge"], colours[surface]) >= 3, surface
    assert {colours["paper"], colours["ground"]} >= {DARK_SURFACE if theme == "dark" else LIGHT_SURFACE}


@pytest.mark.parametrize("accent", ACCENTS)
@pytest.mark.parametrize("dark", [False, True])
def test_every_accent_gets_shades_that_can_be_read(accent: str, dark: bool) -> None:
    found = shades(accent, dark=dark)
    assert contrast(found.text, DARK_SURFACE if dark else LIGHT_SURFACE) >= READABLE
    assert found.button == accent
    assert contrast(found.on_button, found.button) >= READABLE
    assert contrast(found.on_button, found.pressed) >= READABLE


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast(WHITE, BLACK) == pytest.approx(21)
    assert contrast("#777777", WHITE) == pytest.approx(4.48, abs=0.01)
    assert contrast(WHITE, WHITE) == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "neither an SVG nor a PNG image"),
        (b"GIF89a", "neither an SVG nor a PNG image"),
        (b"<html><svg></svg></html>", "neither an SVG nor a PNG image"),
        (b"<!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg/>", "neither an SVG nor a PNG image"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 262_144, "is larger than 256 KiB"),
    ],
)
def test_a_logo_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "logo"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(problem)) as refused:
        load_brand(Pages(logo=str(path)))
    assert "pages.logo" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ACCENT", "red"), ("ACCENT", "#12345"), ("ACCENT", "#12345g"), ("NAME", "a\nb"), ("NAME", "x" * 61)],
)
def test_a_brand_that_is_none_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"(?i)pages.{name}"):
        load("production", environ={f"IDP_PAGES__{name}": value})


async def test_the_pages_show_the_brand(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """SEC-43: the logo and the colours come from our own origin, and an SVG runs no script by itself."""
    logo = tmp_path / "logo.svg"
    logo.write_text(SVG)
    environ = {
        "IDP_PAGES__NAME": 'Acme & "Sons" <b>',
        "IDP_PAGES__LOGO": str(logo),
        "IDP_PAGES__ACCENT": "#ffde00",
    }
    async with running(postgres.create_database("branded"), environ=environ) as service, Visitor(service) as visitor:
        page = await visitor.open("/login")
        assert "Acme &amp; &#34;Sons&#34; &lt;b&gt;" in page.text
        (image,) = re.findall(r'<img src="(/brand/logo[^"]*)"', page.text)
        shown = await visitor.client.get(image)
        assert (shown.headers["Content-Type"], shown.text) == ("image/svg+xml", SVG)
        assert "sandbox" in shown.headers["Content-Security-Policy"]
        assert "immutable" in shown.headers["Cache-Control"]
        (sheet,) = re.findall(r'href="(/brand/theme.css[^"]*)"', page.text)
        theme = await visitor.client.get(sheet)
        assert theme.headers["Content-Type"].startswith("text/css")
        assert "--button: #ffde00; --on-button: #000000" in theme.text


async def test_without_a_brand_there_is_neither_logo_nor_theme(production: object) -> None:
    client = production.client  # type: ignore[attr-defined]
    assert (await client.get("/brand/logo")).status_code == 404
    assert (await client.get("/brand/theme.css")).text == ""
    assert "theme.css" not in (await client.get("/login")).text
