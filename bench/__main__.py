"""`python -m bench`: runs the benchmarks, prints the tables, and after a full run writes bench/RESULTS.md."""

import argparse
import sys
from pathlib import Path

from bench import chart, exclusive, load, report
from bench.measure import Plan
from bench.measure_all import Choice, measure_all
from bench.peers.install import PEERS
from bench.scenarios import SCENARIOS

_FULL = Plan(rounds=3, seconds=1.2, alone_seconds=0.6, warm_up_seconds=0.4)
_QUICK = Plan(rounds=2, seconds=0.3, alone_seconds=0.15, warm_up_seconds=0.15)
_TIMEOUT_SECONDS = 600
_RESULTS = Path(__file__).with_name("RESULTS.md")
_TITLES = {scenario.name: scenario.title for scenario in SCENARIOS} | {
    "limits": "signatures, a Valkey GET, a point read, a login",
    "flood": "validate during a flood of logins",
    "revocation": "how long three processes still accept a revoked key",
    "events": "changes while Kafka is away, and the drain of a backlog of 100,000 events",
}


def main() -> int:
    """Run the chosen benchmarks."""
    options = _options()
    if options.list:
        print("\n".join(f"{name:26} {title}" for name, title in _TITLES.items()))
        return 0
    if not load.is_installed():
        print("bench needs wrk: on Debian or Ubuntu, apt install wrk", file=sys.stderr)
        return 1
    with exclusive.exclusive_run(_TIMEOUT_SECONDS, say=_print_status):
        results = measure_all(_choice(options), _plan(options), say=_print_status)
    text = report.document(results)
    print(text)
    out = options.out or (None if options.quick or options.scenarios else _RESULTS)
    if out is not None:
        out.write_text(text, encoding="utf-8")
        if why := chart.draw(results.measured, out.with_name("chart.svg")):
            _print_status(f"the chart was not drawn: {why}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", choices=[*_TITLES, []], help="all by default")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--quick", action="store_true", help="short rounds, without peers unless named")
    parser.add_argument("--rounds", type=int, help="number of rounds")
    parser.add_argument("--seconds", type=float, help="length of a round")
    parser.add_argument(
        "--peer", action="append", choices=[peer.name for peer in PEERS], help="a peer to compare with; can be repeated"
    )
    parser.add_argument("--no-peers", action="store_true", help="without peers")
    parser.add_argument("--out", type=Path, help="write the report to this file")
    return parser.parse_args()


def _choice(options: argparse.Namespace) -> Choice:
    names = options.scenarios or _TITLES
    return Choice(
        scenarios=[scenario for scenario in SCENARIOS if scenario.name in names],
        peers=options.peer or ([] if options.quick or options.no_peers else [peer.name for peer in PEERS]),
        limits="limits" in names,
        flood="flood" in names,
        revocation="revocation" in names,
        events="events" in names,
    )


def _plan(options: argparse.Namespace) -> Plan:
    plan = _QUICK if options.quick else _FULL
    rounds, seconds = options.rounds or plan.rounds, options.seconds or plan.seconds
    return Plan(rounds, seconds, plan.alone_seconds, plan.warm_up_seconds)


def _print_status(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
