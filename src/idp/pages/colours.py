"""Colours that can be read: contrast as WCAG 2.2 defines it, and shades of the brand's accent (decision 0048)."""

from typing import NamedTuple

READABLE = 4.5  # WCAG 2.2, 1.4.3 (AA)
WHITE, BLACK = "#ffffff", "#000000"
# Where each theme is hardest to read: `--ground` of the light one, `--paper` of the dark one (page.css).
LIGHT_SURFACE, DARK_SURFACE = "#f5f7fa", "#171d26"
_STEP = 0.02
_HOVER = 0.15


class Shades(NamedTuple):
    """An accent as one theme uses it.

    Attributes:
        text: for links and signs on the theme's surfaces.
        button: the accent itself, behind the text of buttons.
        on_button: white or black.
        pressed: the button under the pointer.
    """

    text: str
    button: str
    on_button: str
    pressed: str


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21.

    Args:
        one: as #rrggbb.
        other: the same.
    """
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def shades(accent: str, *, dark: bool) -> Shades:
    """Return readable shades of an accent; one of white and black is readable on every colour.

    Args:
        accent: as #rrggbb.
        dark: whether the surfaces are dark.
    """
    surface, towards = (DARK_SURFACE, WHITE) if dark else (LIGHT_SURFACE, BLACK)
    on_button = WHITE if contrast(accent, WHITE) >= READABLE else BLACK
    away = BLACK if on_button == WHITE else WHITE
    return Shades(_readable(accent, surface, towards), accent.lower(), on_button, _mixed(accent, away, _HOVER))


def _readable(colour: str, surface: str, towards: str) -> str:
    part = 0.0
    while contrast(mixed := _mixed(colour, towards, part), surface) < READABLE:
        part += _STEP
    return mixed


def _mixed(one: str, other: str, part: float) -> str:
    pairs = zip(_channels(one), _channels(other), strict=True)
    return "#" + "".join(f"{round(mine + (theirs - mine) * min(part, 1.0)):02x}" for mine, theirs in pairs)


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2.2, definition)."""
    linear = [_linear(channel / 255) for channel in _channels(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _linear(channel: float) -> float:
    return float(channel / 12.92) if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
