"""Fixtures of all tests: PostgreSQL, Valkey, and the service behind a socket."""

import signal
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from factories import Service, postgres_bin, running
from idp.dev import postgres as postgres_module
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey, remove_data
from idp.ops import metrics
from secret_scan import secrets_seen

# `nohup` lets a run ignore SIGHUP; the commands that tests start and stop with it must not inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Files that take longest, longest first: with several processes, none of them is to begin when the others are done.
LONG = (
    "clerk/test_ten_thousand_events.py", "faults/test_every_fault.py",
    "dev/test_dev_command.py", "flows/test_authority_lost.py", "openapi/test_openapi.py", "db/test_verdict_model.py",
    "authn/test_every_authenticator.py", "authn/test_explain_agrees.py",
    "cli/test_where_it_writes.py", "signing/test_proofs_under_a_shared_secret.py",
    "flows/test_login_limits.py", "browser/test_eight_tabs.py", "cli/test_idp_serve.py", "client/test_frameworks.py",
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first (`--dist loadfile --no-loadscope-reorder` hands files out in this order)."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test whose output has a secret."""
    report = yield
    if report.when == "teardown":
        text = "\n".join(content for title, content in report.sections if title.startswith("Captured"))
        if leaks := secrets_seen.search(text, f"the output of {item.nodeid}"):
            report.outcome, report.longrepr = "failed", f"secrets in clear: {leaks}"
    return report


@pytest.fixture(scope="session", autouse=True)
def no_secret_in_clear() -> Iterator[None]:
    """SEC-74: at the end of the run no secret that a test saw is in logs, traces, metrics or databases."""
    yield
    secrets_seen.search(metrics.exposition().decode(), "the metrics")
    assert secrets_seen.leaks[:20] == [], secrets_seen.leaks


@pytest.fixture(scope="session", autouse=True)
def no_leftovers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove what servers of this run keep outside its folder: below /var/tmp, when we are root."""
    yield
    for location in tmp_path_factory.getbasetemp().rglob("postgres.location"):
        remove_data(location.parent)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server. With hundreds of databases, automatic vacuuming would never rest."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), bin_dir=postgres_bin())
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(postgres_module._SETTINGS, "autovacuum", "off")
        server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey server."""
    server = EmbeddedValkey()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
async def service(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[Service]:
    """The service as `idp dev` runs it, shared by all tests: create your own users, and do not use others."""
    async with running(postgres.create_database("shared"), valkey_url=valkey.url) as service:
        yield service


@pytest.fixture(scope="session")
async def production(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[Service]:
    """The service as `idp serve` runs it."""
    url = postgres.create_database("production")
    async with running(url, valkey_url=valkey.url, profile="production") as service:
        yield service
