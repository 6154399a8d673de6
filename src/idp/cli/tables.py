"""Print tables and facts: coloured and fitted to the terminal; plain and complete in a pipe."""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

_GAP = 3
_MARGIN = "  "
_COMFORTABLE = 20  # spare columns are dropped before a column gets narrower


class Cell(NamedTuple):
    """Coloured text; `plain` replaces it in a pipe, such as a full time."""

    text: str
    style: str = ""
    plain: str | None = None


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        heading: its title.
        wraps: whether its text may wrap between words.
        spare: order of dropping on a narrow terminal, highest first; 0 is never dropped.
    """

    heading: str
    wraps: bool = False
    spare: int = 0


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, note: str = "", follows: bool = False
) -> None:
    """Print rows under their headings.

    Args:
        columns: the columns.
        rows: a cell for each column.
        note: a sentence below the table, only on a terminal.
        follows: whether a blank line precedes it.
    """
    if not is_terminal():
        from idp.cli.columns import print_columns

        plain = [[printable(cell.text if cell.plain is None else cell.plain) for cell in row] for row in rows]
        print_columns([column.heading for column in columns], plain)
        return
    console = _console()
    shown = _fitting(columns, rows, console.width) if rows else []
    kept = [columns[place] for place in shown], [[row[place] for place in shown] for row in rows]
    as_table = _fits(*kept, console.width) if rows else True
    if not follows:
        console.print()
    if rows:
        if as_table:
            _print_rows(console, *kept)
        else:
            _print_records(console, columns, rows)
        console.print()
    if rows and as_table and len(shown) < len(columns):
        note = f"{note} A wider terminal shows more.".lstrip()
    if note:
        say(note, style="dim")


def print_facts(facts: Sequence[tuple[str, Cell]]) -> None:
    """Print labelled values, one per line."""
    width = max(len(name) for name, _ in facts)
    if not is_terminal():
        for name, cell in facts:
            text = printable(cell.text if cell.plain is None else cell.plain)
            print(f"{name.ljust(width + _GAP)}{text}".rstrip())
        return
    from rich.text import Text

    console = _console()
    console.print()
    for name, cell in facts:
        # Never wrapped, so that it can be copied in one piece.
        line = Text.assemble(_MARGIN, (name.ljust(width + _GAP), "dim"), (printable(cell.text), cell.style))
        console.print(line, soft_wrap=True)
    console.print()


def say(sentence: str, *, style: str = "") -> None:
    """Print a sentence; with a style it is a remark and printed only on a terminal."""
    if not style:
        print(printable(sentence))
    elif is_terminal():
        from rich.padding import Padding
        from rich.text import Text

        console = _console()
        console.print(Padding(Text(printable(sentence), style=style), (0, 0, 0, len(_MARGIN)), expand=False))
        console.print()


def print_json(value: Any) -> None:
    """Print a value as JSON, for scripts."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_done(answer: Any, output: str, sentence: str) -> None:
    """Print what a command did: the service's answer for scripts (`json`), a sentence for people."""
    if output == "json":
        print_json(answer)
    else:
        say(sentence)


def printable(text: str) -> str:
    """Return text without terminal control and bidirectional characters."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _console(width: int | None = None) -> Any:
    from rich.console import Console

    return Console(highlight=False, emoji=False, markup=False, width=width)


def _print_rows(console: Any, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    widths = _widths(columns, rows, console.width)
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column.heading, width=width, no_wrap=not column.wraps, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell.text), style=cell.style) for cell in row))
    needed = _whole(widths) + _GAP
    _console(max(console.width, needed)).print(Padding(table, (0, 0, 0, len(_MARGIN)), expand=False))


def _fits(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> bool:
    """Whether these columns fit the terminal without breaking a word, such as an id."""
    return _whole([_least(*pair) for pair in _pairs(columns, rows)]) <= width


def _print_records(console: Any, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a block of lines per row: heading and wrapped text of each non-empty cell."""
    import textwrap

    from rich.text import Text

    size = max(len(column.heading) for column in columns) + _GAP
    space = max(1, console.width - len(_MARGIN) - size)
    for number, row in enumerate(rows):
        if number:
            console.print()
        for column, cell in zip(columns, row, strict=True):
            lines = textwrap.wrap(printable(cell.text), space, break_long_words=False, break_on_hyphens=False)
            for heading, text in zip([column.heading, *[""] * len(lines)], lines, strict=False):
                line = Text.assemble(_MARGIN, (heading.ljust(size), "dim"), (text, cell.style))
                console.print(line, soft_wrap=True)


def _fitting(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """Return the indexes of the columns that fit, dropping spare ones."""
    shown = list(range(len(columns)))
    wanted = [max(_least(*pair), min(_natural(*pair), _COMFORTABLE)) for pair in _pairs(columns, rows)]
    for place in sorted(shown, key=lambda place: columns[place].spare, reverse=True):
        if _whole([wanted[each] for each in shown]) <= width:
            break
        if columns[place].spare:
            shown.remove(place)
    return shown


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """Return the column widths: natural widths, with wrapping columns narrowed until all fit.

    No word is broken; `_fits` tells whether that is possible.
    """
    pairs = _pairs(columns, rows)
    widths, whole_words = [_natural(*pair) for pair in pairs], [_least(*pair) for pair in pairs]
    while _whole(widths) > width and widths != whole_words:
        widest = max(range(len(columns)), key=lambda place: widths[place] - whole_words[place])
        widths[widest] -= 1
    return widths


def _pairs(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[tuple[Column, list[str]]]:
    return [(column, [column.heading, *(row[place].text for row in rows)]) for place, column in enumerate(columns)]


def _natural(_column: Column, texts: Sequence[str]) -> int:
    return _longest(texts)


def _least(column: Column, texts: Sequence[str]) -> int:
    if not column.wraps:
        return _longest(texts)
    return _longest([word for text in texts for word in text.split()])


def _longest(texts: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(cell_len(text) for text in texts)


def _whole(widths: Sequence[int]) -> int:
    return len(_MARGIN) + sum(widths) + _GAP * (len(widths) - 1)
