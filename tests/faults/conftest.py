"""`--write-reliability`: write the table of docs/reliability.md from what this run measures."""

import pytest

from faults.reliability_support import PROPERTY, Row, write


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-reliability", action="store_true", help="write the table of docs/reliability.md")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show each row, and write the page if asked to."""
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    rows = [
        Row(**value)
        for report in reports
        if report.when == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if rows:
        terminalreporter.section("what clients saw")
        for row in rows:
            terminalreporter.write_line(row.line())
    if rows and config.getoption("--write-reliability", default=False):
        from faults.fault_registry_support import FAULTS

        titles = [fault.title for fault in FAULTS.values()]
        write(sorted(rows, key=lambda row: titles.index(row.fault) if row.fault in titles else len(titles)))
