"""One run: everything that was chosen, one after the other, in one world."""

import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from bench import cpu, flood, limits, machine, revocation
from bench.measure import Contestant, Plan, measure
from bench.report import Results
from bench.scenarios import Scenario
from bench.server import Server
from bench.verdicts import Memory
from bench.world import World

_NEW_A_SECOND = 7000  # never-seen credentials that no server here uses up faster
_QUIET = 0.3  # load average below which nobody else is at work


class Choice(Struct, frozen=True):
    """What to measure, and beside which peers."""

    scenarios: Sequence[Scenario]
    peers: Sequence[str]
    limits: bool
    flood: bool
    revocation: bool


def measure_all(choice: Choice, plan: Plan, *, say: Callable[[str], None]) -> Results:
    """Measure what was chosen; `say` is told what is under way."""
    began, busy = time.monotonic(), machine.load_average()
    with World(choice.peers, new_requests=round(plan.seconds_each * _NEW_A_SECOND) + 1000, say=say) as world:
        measured = []
        for scenario in choice.scenarios:
            say(scenario.title)
            measured.append((scenario, measure(scenario, world, plan)))
        say("limits, login flood and revocations")
        return Results(
            measured=measured,
            limits=limits.measure(world) if choice.limits else [],
            floods=flood.measure(world, plan) if choice.flood else [],
            revocation=revocation.measure(world, say=say) if choice.revocation else None,
            memory=_memory([contestant for _, contestants in measured for contestant in contestants]),
            machine=machine.description(world.server_core, world.load_core),
            notes=[
                *_notes(plan, busy, time.monotonic() - began),
                *(f"{name}: not installed" for name in world.missing),
            ],
        )


def _notes(plan: Plan, busy: float, took: float) -> list[str]:
    mark = "" if busy < _QUIET else ": **others were at work, so this is a look and not a result**"
    return [
        f"{plan.rounds} rounds of {plan.seconds:g} s a server and scenario; {took:.0f} s in all",
        f"Load average in the minute before: {busy:.1f}{mark}",
    ]


def _memory(contestants: Sequence[Contestant]) -> list[Memory]:
    servers: dict[str, Server] = {}
    for contestant in contestants:
        if contestant.server is not None and contestant.server.idle_megabytes is not None:
            servers[contestant.server.name] = contestant.server
    return [
        Memory(name, *(server.idle_megabytes or (0.0, 0.0)), loaded=cpu.resident_megabytes(server.pid)[0])
        for name, server in servers.items()
    ]
