"""The texts of the pages, one file per language in `texts/`, and the choice of a language for a request."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

_FOLDER = Path(__file__).parent / "texts"
DEFAULT = "en"
_MAX_RANGES = 20  # of a header or parameter; people have fewer
_RANGE = re.compile(r"(?P<tag>[A-Za-z]{1,8})(-[A-Za-z0-9]{1,8})*")
_WEIGHT = re.compile(r"q=(?P<q>[01](\.\d{1,3})?)", re.IGNORECASE)


class Texts:
    """The texts of a language, as templates call it: `t("login.title")`.

    Args:
        language: its tag (BCP 47), such as "de".
        texts: by section and name, such as "login.title".
    """

    def __init__(self, language: str, texts: Mapping[str, str]) -> None:
        self.language = language
        self.texts = texts

    def __call__(self, key: str, **values: object) -> Markup:
        """Return a text with its values; values that are not markup are escaped (SEC-46).

        Args:
            key: section and name.
            values: by their names in the text.

        Raises:
            KeyError: there is no such text, or a value is missing.
        """
        return Markup(escape(self.texts[key])).format(**values)  # noqa: S704  the text itself is escaped


def _load(path: Path) -> Texts:
    sections = tomllib.loads(path.read_text(encoding="utf-8"))
    flat = {f"{section}.{name}": text for section, names in sections.items() for name, text in names.items()}
    return Texts(path.stem, flat)


LANGUAGES: dict[str, Texts] = {path.stem: _load(path) for path in sorted(_FOLDER.glob("*.toml"))}


def choose(ui_locales: str | None, accept_language: str | None) -> Texts:
    """Return the texts for a reader.

    Args:
        ui_locales: languages in the order of preference, separated by spaces (OpenID Connect Core section 3.1.2.1).
        accept_language: the header (RFC 9110 section 12.5.4).
    """
    for tag in (*_asked_for(ui_locales or ""), *_accepted(accept_language or "")):
        if tag in LANGUAGES:
            return LANGUAGES[tag]
    return LANGUAGES[DEFAULT]


def _asked_for(ui_locales: str) -> Iterator[str]:
    """Yield the primary languages of a list (RFC 4647 section 3.4: "de-AT" is served as "de")."""
    for each in ui_locales.split()[:_MAX_RANGES]:
        if match := _RANGE.fullmatch(each):
            yield match["tag"].lower()


def _accepted(header: str) -> Iterator[str]:
    """Yield the primary languages of Accept-Language, the most wanted first."""
    weighted = []
    for each in header.split(",")[:_MAX_RANGES]:
        name, _, parameter = each.strip().partition(";")
        weight = _WEIGHT.fullmatch(parameter.strip())
        wanted = float(weight["q"]) if weight else 1.0
        if wanted > 0 and (match := _RANGE.fullmatch(name.strip())):
            weighted.append((wanted, match["tag"].lower()))
    yield from (tag for _, tag in sorted(weighted, key=lambda pair: -pair[0]))


def values_of(texts: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Return the names in braces of every text, for the comparison of languages."""
    return {key: frozenset(re.findall(r"\{(\w+)\}", text)) for key, text in texts.items()}
