"""Tables inside one test: every row is checked, and the failure lists each one that failed."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


@contextmanager
def table() -> Iterator[Callable[[str], AbstractContextManager[None]]]:
    """Give a function that begins a row; a row that fails does not keep the next ones from being checked.

    Use it for hundreds of cases that need nothing but the same fixtures:

        with table() as row:
            for attack in ATTACKS:
                with row(attack.name):
                    assert refused(attack)

    Raises:
        AssertionError: at the end, with the name of every row that failed, its line and its reason.
    """
    names: list[str] = []
    failures: list[str] = []

    @contextmanager
    def row(name: str) -> Iterator[None]:
        names.append(name)
        try:
            yield
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  told at the end
            where = traceback.extract_tb(error.__traceback__)[1]  # the first frame is ours
            failures.append(f"{name}: line {where.lineno}: {type(error).__name__}: {error}")

    yield row
    assert names, "the table is empty"
    assert len(names) == len(set(names)), "two rows have one name"
    if failures:
        raise AssertionError(f"{len(failures)} of {len(names)} rows failed:\n\n" + "\n\n".join(failures))
