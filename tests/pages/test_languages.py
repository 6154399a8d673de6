"""The texts of the pages: one file per language, all complete, and the choice of a language."""

import re
from pathlib import Path

import pytest

from factories import Service
from idp.pages.languages import DEFAULT, LANGUAGES, Texts, choose, values_of

PAGES = Path(__file__).parents[2] / "src" / "idp" / "pages"


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_language_has_every_text_with_the_same_values(language: str) -> None:
    expected, texts = LANGUAGES[DEFAULT].texts, LANGUAGES[language].texts
    assert sorted(texts) == sorted(expected)
    assert values_of(texts) == values_of(expected)
    assert [key for key, text in texts.items() if not text.strip()] == []


def test_german_ships() -> None:
    assert {"en", "de"} <= set(LANGUAGES)


def test_every_text_that_a_template_shows_exists() -> None:
    sources = [*(PAGES / "templates").rglob("*.html"), *PAGES.rglob("*.py")]
    shown = {
        key for path in sources for key in re.findall(r"""\bt\(["']([a-z_]+\.[a-z_]+)["'](?! ~)""", path.read_text())
    }
    assert shown
    assert sorted(shown - set(LANGUAGES[DEFAULT].texts)) == []


def test_no_text_is_left_over() -> None:
    """Those with a computed name count as shown by its beginning, such as `"errors." ~ name`."""
    source = "".join(path.read_text() for path in (*(PAGES / "templates").rglob("*.html"), *PAGES.rglob("*.py")))
    beginnings = tuple(re.findall(r'"([a-z_]+\.[a-z_]*)" ~', source))
    texts = [key for key in LANGUAGES[DEFAULT].texts if not key.startswith(beginnings)]
    sections = set(re.findall(r'"([a-z_]+)"', source))
    assert [key for key in texts if f'"{key}"' not in source and key.partition(".")[0] not in sections] == []


@pytest.mark.parametrize(
    ("ui_locales", "accept_language", "expected"),
    [
        (None, None, "en"),
        ("de", None, "de"),
        ("de-AT", "en", "de"),
        ("fr de", "en", "de"),
        ("fr", "de", "de"),
        ("en de", "de", "en"),
        (None, "de-CH,de;q=0.9,en;q=0.8", "de"),
        (None, "en;q=0.2, de;q=0.9", "de"),
        (None, "de;q=0, en", "en"),
        (None, "DE", "de"),
        (None, "*", "en"),
        (None, "de;q=x", "de"),
        ("../../etc/passwd", "\x00;;q=,,,", "en"),
        ("de" * 50_000, "x" * 30_000, "en"),
    ],
)
def test_ui_locales_chooses_before_accept_language(
    ui_locales: str | None, accept_language: str | None, expected: str
) -> None:
    assert choose(ui_locales, accept_language).language == expected


def test_values_are_escaped() -> None:
    """SEC-46: what others wrote is text, even if it looks like markup or like a text of ours."""
    texts = Texts("en", {"a.b": "<{name}> & {{x}}"})
    assert texts("a.b", name='<script>"{name}') == "&lt;&lt;script&gt;&#34;{name}&gt; &amp; {x}"


async def test_a_page_says_its_language(service: Service) -> None:
    for query, header, language, heading in (
        ("", "en", "en", "Forgot your password?"),
        ("", "de-DE", "de", "Passwort vergessen?"),
        ("?ui_locales=de", "en", "de", "Passwort vergessen?"),
    ):
        page = await service.client.get(f"/reset-password{query}", headers={"Accept-Language": header})
        assert page.headers["Content-Language"] == language
        assert "Accept-Language" in page.headers["Vary"]
        assert f'<html lang="{language}">' in page.text
        assert f"<h1>{heading}</h1>" in page.text
