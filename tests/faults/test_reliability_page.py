"""docs/reliability.md has a row for every fault that the tests cause; a run with `--write-reliability` wrote it."""

from pathlib import Path

from faults.fault_registry_support import FAULTS
from faults.reliability_support import BEGIN, END, PAGE, Row, write
from faults.test_rolling_upgrade import TITLE


def rows(page: str) -> list[str]:
    return page.partition(BEGIN)[2].partition(END)[0].splitlines()


def test_the_page_has_a_row_for_every_fault() -> None:
    found = [line for line in rows(PAGE.read_text("utf-8")) if line.startswith("| **")]
    titles = [fault.title for fault in FAULTS.values()]
    assert sorted(line.removeprefix("| **").partition("**")[0] for line in found) == sorted([*titles, TITLE])


def test_no_row_of_the_page_says_that_something_was_lost_or_came_true() -> None:
    for line in rows(PAGE.read_text("utf-8")):
        if line.startswith("| **"):
            *_, lost, came_true = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert (lost.split()[0], came_true) == ("0", "0"), line


def test_a_run_replaces_the_table_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nan older table\n{END}\nafter\n")
    write([Row("A fault", "how", "3 answered", 0.5, 0.0, 7, 0, 0)], page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| **A fault**: how | 3 answered | 0.50 s | at once | 0 of 7 | 0 |" in rows(text)
    assert "an older table" not in text
