"""`idp doctor`: checks a deployment and reports what to change."""

import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import rich_click as click

from idp.cli.service_options import with_output

if TYPE_CHECKING:
    from idp.db.engine import Database
    from idp.doctor.findings import Finding
    from idp.settings import LoadedSettings

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red", "unknown": "cyan"}
_MARK_WIDTH = 10


@click.command()
@click.option("--url", metavar="URL", help="Check a running deployment from outside, at its public URL.")
@click.option("--api", metavar="URL", help="Check that this route of an API refuses bad tokens. IDP_TOKEN: a good one.")
@click.option("--issuer", metavar="URL", help="With --api: whose tokens the API accepts; default: IDP_URL.")
@click.option("--audience", help="With --api: the audience of these tokens; default: the issuer.")
@click.option("--strict", is_flag=True, help="Exit 1 for warnings, too.")
@with_output
def doctor(
    url: str | None, api: str | None, issuer: str | None, audience: str | None, strict: bool, output: str
) -> None:
    """Check settings, database and Valkey against the production checklist, and report what to change."""
    from idp.cli.failure import BadInput
    from idp.doctor.findings import has_problem

    if url and api:
        raise BadInput("Use --url or --api, not both.")
    if url:
        findings = _of_deployment(url)
    elif api:
        findings = _of_api(api, issuer, audience)
    else:
        findings = _of_this_environment()
    _print(findings, output)
    if has_problem(findings, or_warning=strict):
        sys.exit(1)


def _of_deployment(url: str) -> "list[Finding]":
    from idp.cli.target import checked
    from idp.doctor.deployment import check_deployment

    return list(check_deployment(checked(url)))


def _of_api(url: str, issuer: str | None, audience: str | None) -> "list[Finding]":
    import httpx2

    from idp.cli.failure import Away, BadInput
    from idp.cli.target import checked
    from idp.doctor.api import check_api
    from idp.settings import client_settings

    given = client_settings()
    issuer = issuer or given.url
    if issuer is None:
        raise BadInput("Whose tokens does the API accept? Use --issuer https://id.example.com, or IDP_URL.")
    good = given.access_token.reveal() if given.access_token is not None else None
    try:
        return list(check_api(checked(url), checked(issuer), audience=audience, good=good))
    except httpx2.HTTPError as error:
        raise Away(
            f"No answer from {url} or {issuer} ({error or type(error).__name__}): are both URLs right?"
        ) from None


def _of_this_environment() -> "list[Finding]":
    from idp.cli.production import load_for_database, unsafe
    from idp.doctor.configuration import cannot_check_settings, check_settings
    from idp.settings import SettingsError

    try:
        loaded = load_for_database()
    except SettingsError as error:
        return [cannot_check_settings(each) for each in error.problems]
    return [*check_settings(loaded, unsafe(loaded.settings)), *_of_stores(loaded)]


def _of_stores(loaded: "LoadedSettings") -> "list[Finding]":
    from idp.cli.database import with_database
    from idp.cli.failure import Failure
    from idp.doctor.findings import problem

    settings = loaded.settings

    async def work(database: "Database") -> "list[Finding]":
        from idp.doctor.database import check_database
        from idp.doctor.shared_cache import check_shared_cache

        found = [each async for each in check_database(database, settings)]
        return [*found, await check_shared_cache(settings, database)]

    try:
        return with_database(settings, work)
    except Failure as failure:
        return [problem("PostgreSQL", str(failure), why="nothing works without it", change="`idp check-db`")]


def _print(findings: "Iterable[Finding]", output: str) -> None:
    from msgspec import structs

    from idp.cli.tables import print_json, printable

    findings = list(findings)
    if output == "json":
        print_json([structs.asdict(each) for each in findings])
        return
    width = max(len(each.check) for each in findings)
    for each in findings:
        mark = click.style(each.status.ljust(_MARK_WIDTH), fg=_COLOURS[each.status], bold=each.status != "ok")
        click.echo(f"{mark}{each.check.ljust(width + 3)}{printable(each.seen)}")
        for name, text in (("why", each.why), ("change", each.change)):
            if text:
                click.echo(f"{' ' * _MARK_WIDTH}{click.style(name.ljust(width + 3), dim=True)}{printable(text)}")
    counts = Counter[str](each.status for each in findings)
    click.echo("\n" + ", ".join(_counted(counts[status], status) for status in _COLOURS if counts[status]))


def _counted(count: int, status: str) -> str:
    return f"{count} {status}s" if status in {"warning", "problem"} and count > 1 else f"{count} {status}"
