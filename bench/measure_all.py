"""Runs all chosen benchmarks in one environment."""

import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from bench import cpu, events, flood, limits, machine, revocation
from bench.measure import Contestant, Plan, measure
from bench.report import Results
from bench.scenarios import Scenario
from bench.server import Server
from bench.verdicts import Memory
from bench.world import World

_ONCE_ONLY_RATE = 7000  # once-only credentials per second, above the rate of every server
_IDLE_LOAD = 0.3  # load average of an idle machine


class Choice(Struct, frozen=True):
    """The chosen benchmarks and peers."""

    scenarios: Sequence[Scenario]
    peers: Sequence[str]
    limits: bool
    flood: bool
    revocation: bool
    events: bool


def measure_all(choice: Choice, plan: Plan, *, say: Callable[[str], None]) -> Results:
    """Run the chosen benchmarks; `say` prints the status."""
    began, busy = time.monotonic(), machine.load_average()
    with World(choice.peers, new_requests=round(plan.seconds_each * _ONCE_ONLY_RATE) + 1000, say=say) as world:
        measured = []
        for scenario in choice.scenarios:
            say(scenario.title)
            measured.append((scenario, measure(scenario, world, plan)))
        unseen = any(scenario.of_verification is not None for scenario in choice.scenarios)
        say("limits, login flood, revocations and events")
        return Results(
            measured=measured,
            verification=limits.raw_verification() if unseen else None,
            limits=limits.measure(world) if choice.limits else [],
            floods=flood.measure(world, plan) if choice.flood else [],
            revocation=revocation.measure(world, say=say) if choice.revocation else None,
            events=events.measure(world, plan) if choice.events else [],
            memory=_memory([contestant for _, contestants in measured for contestant in contestants]),
            machine=machine.description(world.server_core, world.load_core),
            notes=[
                *_notes(plan, busy, time.monotonic() - began),
                *(f"{name}: not installed" for name in world.missing),
            ],
        )


def _notes(plan: Plan, busy: float, took: float) -> list[str]:
    mark = "" if busy < _IDLE_LOAD else ": **other processes were running, so the figures are unreliable**"
    return [
        f"{plan.rounds} rounds of {plan.seconds:g} s for each server and scenario; {took:.0f} s in total",
        f"Load average before the run: {busy:.1f}{mark}",
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
