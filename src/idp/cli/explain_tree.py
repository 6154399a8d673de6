"""Prints an explanation as a tree: the decision, the authenticators, and each check; failed ones are red."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from idp.cli.relative_time import ago, until
from idp.cli.tables import is_terminal, printable

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

Json = Mapping[str, Any]
_PIPE_WIDTH = 400  # characters; nothing wraps in a pipe
_MAX_EXPECTED = 60
_PLACES = {"memory": "from memory", "valkey": "from Valkey", "database": "from the database"}
_SOURCES = {
    "default": "default of new accounts",
    "seed": "seed",
    "admin": "granted",
    "rule": "claim rule",
    "claims": "claim of the token",
    "key": "of the key",
    "settings": "from the settings",
    "unknown": "origin not recorded",
}


def print_tree(found: Json) -> None:
    """Print an explanation of POST /auth/explain."""
    from rich.console import Console

    width = None if is_terminal() else _PIPE_WIDTH
    console = Console(highlight=False, emoji=False, markup=False, width=width)
    if is_terminal():
        console.print()
    console.print(tree_of(found, marks="✓✗·" if console.encoding.startswith("utf") else "+x-"))


def tree_of(found: Json, *, marks: str) -> "Tree":
    """Return the tree.

    Args:
        found: the explanation.
        marks: three characters, for passed, failed and not concerned.
    """
    from rich.tree import Tree

    tree = Tree(_title(found, marks), guide_style="dim")
    tree.add(_origin(found["origin"]))
    _add_authenticators(tree, found["authenticators"], marks)
    if found["subject"]:
        _add_checks(
            tree.add(_line(("User and session" if found["user"] else "Subject", "bold"))), found["subject"], marks
        )
    if found["rights"]:
        _add_rights(tree.add(_line(("Rights", "bold"))), found["rights"])
    if found["route"]:
        _add_route(tree, found["route"], marks)
    return tree


def _title(found: Json, marks: str) -> "Text":
    verdict, credential, user = found["verdict"], found["credential"], found["user"]
    if not verdict["accepted"]:
        refused = f"refused: {verdict['status']} {verdict['code']}"
        return _line(_mark(False, marks), (refused, "bold red"), (_failure(found) or verdict["detail"], ""))
    who = (user["email"] or user["id"]) if user else (credential["name"] or credential["id"])
    facts = f"{user['id'] if user else credential['id']}, expires {until(credential['expires_at']).text}"
    accepted = f"accepted: {credential['method']}"
    return _line(_mark(True, marks), (accepted, "bold green"), (str(who), "bold"), (facts, "dim"))


def _failure(found: Json) -> str | None:
    """Return the check that failed, None if none did."""
    owned = [check for each in found["authenticators"] if each["name"] == found["owner"] for check in each["checks"]]
    failed = [check for check in (*owned, *found["subject"]) if not check["passed"]]
    return _reason(failed[-1]) if failed else None


def _origin(origin: Json) -> "Text":
    place = _PLACES[origin["source"]]
    line = _line((f"Decided {place}", ""))
    if origin["source"] != "database":
        line.append(f", {_age(origin['age_seconds'])} old")
    for reading in origin["readings"]:
        if reading["source"] != "database":
            line.append(f"; {reading['what']} {_PLACES[reading['source']]}, {_age(reading['age_seconds'])} old")
    if origin["decided_again"] is None:
        return line
    if origin["agrees"]:
        return line.append("; the checks below are a second decision from the database: the same", style="dim")
    return line.append(f"; decided again from the database: {origin['decided_again']}", style="bold red")


def _age(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _add_authenticators(tree: "Tree", asked: Sequence[Json], marks: str) -> None:
    branch = tree.add(_line(("Authenticators", "bold"), ("in this order; the first owner decides", "dim")))
    rest, size = [], max(len(each["name"]) for each in asked)
    for each in asked:
        if each["outcome"] == "not_asked":
            rest.append(each["name"])
        elif each["outcome"] == "not_mine":
            reason = "; ".join(_reason(check) for check in each["checks"]) or "no reason given"
            branch.add(_line((marks[2], "dim"), (each["name"].ljust(size), ""), ("not mine", ""), (reason, "dim")))
        else:
            good = each["outcome"] == "authenticated"
            outcome = each["outcome"] + (f": {each['code']}" if each["code"] else "")
            line = _line(_mark(good, marks), (each["name"].ljust(size), "bold"), (outcome, "green" if good else "red"))
            _add_checks(branch.add(line), each["checks"], marks)
    if rest:
        branch.add(_line((marks[2], "dim"), (f"not asked: {', '.join(rest)}", "dim")))


def _reason(check: Json) -> str:
    if check["seen"] is None and check["expected"] is None:
        return str(check["name"])
    expected = f", expected {_short(check['expected'])}" if check["expected"] else ""
    return f"{check['name']}: {_short(check['seen'] or 'absent')}{expected}"


def _add_checks(branch: "Tree", checks: Iterable[Json], marks: str) -> None:
    checks = list(checks)
    size = max((len(check["name"]) for check in checks), default=0)
    for check in checks:
        line = _line(_mark(check["passed"], marks), (check["name"].ljust(size), "" if check["passed"] else "bold red"))
        if check["seen"] is not None or check["expected"] is not None:
            line.append(f"  {printable(_short(check['seen'] or 'absent'))}", style="" if check["passed"] else "red")
        if check["expected"] not in {None, check["seen"]}:
            line.append(f"  expected {printable(_short(check['expected']))}", style="dim" if check["passed"] else "")
        branch.add(line)


def _add_rights(branch: "Tree", rights: Sequence[Json]) -> None:
    for kind in dict.fromkeys(each["kind"] for each in rights):
        group = [each for each in rights if each["kind"] == kind]
        for (source, by, at), names in _by_origin(group).items():
            line = _line((kind.ljust(6), "dim"), (", ".join(names), "bold"), (_SOURCES.get(source, source), "dim"))
            if by:
                line.append(f"{' of' if source == 'rule' else ' by'} {printable(by)}", style="dim")
            if at:
                line.append(f", {ago(at).text}", style="dim")
            branch.add(line)


def _by_origin(group: Sequence[Json]) -> dict[tuple[str, str | None, str | None], list[str]]:
    """Group names by their origin, so that ten scopes of one key are one line."""
    found: dict[tuple[str, str | None, str | None], list[str]] = {}
    for each in group:
        detail = f" ({each['detail']})" if each["detail"] else ""
        name = printable(
            f"{each['name']}{detail}" if each["held"] else f"{each['name']} (not in force: {each['detail']})"
        )
        found.setdefault((each["source"], each["by"], each["at"]), []).append(name)
    return found


def _add_route(tree: "Tree", route: Json, marks: str) -> None:
    where, admitted = f"{route['method']} {route['path']}", route["admitted"]
    if admitted is None:
        tree.add(_line((marks[2], "dim"), (where, "bold"), (f"decided by the route itself: {route['policy']}", "")))
        return
    outcome = ("admitted", "green") if admitted else (f"refused: {route['status']} {route['code']}", "bold red")
    line = _line(_mark(admitted, marks), (where, "bold"), outcome, (f"policy: {route['policy']}", "dim"))
    branch = tree.add(line)
    _add_checks(branch, route["checks"], marks)
    if not admitted:
        detail = route["detail"] if route["detail"].endswith((".", "?", "!")) else f"{route['detail']}."
        branch.add(_line((f"{detail} {route['remedy']}", "")))


def _mark(passed: bool, marks: str) -> tuple[str, str]:
    return (marks[0], "green") if passed else (marks[1], "bold red")


def _short(text: str) -> str:
    """Shorten a value, between words if it has any."""
    if len(text) <= _MAX_EXPECTED:
        return text
    cut = text[: _MAX_EXPECTED - 1]
    return f"{cut[: cut.rfind(' ') + 1] or cut}…"


def _line(*parts: tuple[str, str], gap: str = "  ") -> "Text":
    from rich.text import Text

    line = Text()
    for text, style in parts:
        mark_only = len(line.plain) == 1
        line.append(" " if mark_only else gap if line.plain else "").append(printable(text), style=style)
    return line
