"""Measures the contestants of a scenario in turns, so that noise affects all of them."""

from collections.abc import Iterable
from math import inf
from statistics import median

from msgspec import Struct

from bench import cpu, load
from bench.load import LoadFailed, LoadResult
from bench.population import NotBuilt
from bench.requests import REQUESTS_OF
from bench.scenarios import Scenario
from bench.server import Server
from bench.sources import Sources
from bench.traffic import Request, Traffic, WrongAnswer
from bench.world import World

CEILING, SERVICE = "ceiling", "idp"
CONNECTIONS = 32
_WARM_UPS, _STEADY = 6, 0.93  # maximum; warm-up ends if the cost exceeds this fraction of the previous one


class Plan(Struct, frozen=True):
    """Numbers and durations: rounds with 32 connections, then one with a single connection."""

    rounds: int
    seconds: float
    alone_seconds: float
    warm_up_seconds: float

    @property
    def seconds_each(self) -> float:
        """Total load of a contestant in a scenario (seconds)."""
        return self.warm_up_seconds + self.rounds * self.seconds + self.alone_seconds


class Contestant(Struct):
    """A server, its requests, and its results.

    Attributes:
        costs: processor time per request in each round (µs).
        concurrent: results with 32 connections in each round.
        alone: result with one connection.
        error: why there are no results.
    """

    name: str
    server: Server | None = None
    traffic: Traffic | None = None
    costs: list[float] = []
    concurrent: list[LoadResult] = []
    alone: LoadResult | None = None
    error: str = ""

    @property
    def cost(self) -> float:
        """The median of the costs (µs)."""
        return median(self.costs)


def measure(scenario: Scenario, world: World, plan: Plan) -> list[Contestant]:
    """Measure a scenario: the ceiling, the service, and its peers."""
    contestants = list(_contestants(scenario, world))
    for contestant in contestants:
        _warm_up(contestant, plan)
    for _ in range(plan.rounds):
        for contestant in contestants:
            _attempt(contestant, seconds=plan.seconds)
    for contestant in contestants:
        _attempt(contestant, seconds=plan.alone_seconds, alone=True)
    return contestants


def _contestants(scenario: Scenario, world: World) -> Iterable[Contestant]:
    service = _service(scenario, world)
    if not service.error:
        yield _ceiling(service, world)
    yield service
    for comparison in scenario.comparisons:
        peer = next((peer for peer in world.peers if peer.server.name == comparison.peer), None)
        if peer is None:
            yield Contestant(comparison.peer, error="not installed")
        else:
            yield _checked(Contestant(comparison.peer, peer.server, peer.traffic[comparison.request]))


def _service(scenario: Scenario, world: World) -> Contestant:
    try:
        server, traffic = REQUESTS_OF[scenario.name](world)
    except NotBuilt as missing:
        return Contestant(SERVICE, error=f"not built yet: {missing}")
    return _checked(Contestant(SERVICE, server, traffic))


def _checked(contestant: Contestant) -> Contestant:
    assert contestant.server is not None
    assert contestant.traffic is not None
    try:
        contestant.traffic.check(contestant.server.base_url)
    except WrongAnswer as error:
        contestant.error = str(error)
    if contestant.server.idle_megabytes is None:
        contestant.server.idle_megabytes = cpu.resident_megabytes(contestant.server.pid)
    return contestant


def _ceiling(service: Contestant, world: World) -> Contestant:
    """Return the ceiling, with the same request headers and body and the same response size."""
    assert service.server is not None
    assert service.traffic is not None
    size = service.traffic.check(service.server.base_url)
    like = service.traffic.requests[0]
    request = Request(like.method, f"/{size}", like.headers, like.body)
    return _checked(Contestant(CEILING, world.ceiling, Traffic([request])))


def _warm_up(contestant: Contestant, plan: Plan) -> None:
    """Load until the cost no longer falls, since Node compiles in several steps."""
    traffic = contestant.traffic
    if traffic is None or traffic.is_warm:
        return
    before = inf
    for _ in range(1 if traffic.once else _WARM_UPS):
        _attempt(contestant, seconds=plan.warm_up_seconds)
        if contestant.error or contestant.costs[-1] > _STEADY * before:
            break
        before = contestant.costs[-1]
    traffic.is_warm = True
    contestant.costs, contestant.concurrent = [], []


def _attempt(contestant: Contestant, *, seconds: float, alone: bool = False) -> None:
    if contestant.error or contestant.server is None or contestant.traffic is None:
        return
    server, source = contestant.server, contestant.traffic.source
    sources = Sources(server.base_url) if source else None
    before = cpu.seconds_of(server.pid)
    try:
        found = load.run(server.base_url, contestant.traffic, connections=1 if alone else CONNECTIONS, seconds=seconds)
    except LoadFailed as error:
        contestant.error = str(error)
        return
    spent = cpu.seconds_of(server.pid) - before
    if found.refused or found.broken or not found.requests:
        contestant.error = f"{found.refused} refused, {found.broken} failed of {found.requests} responses"
    elif sources and source and (problem := sources.problem(source)):
        contestant.error = problem
    elif alone:
        contestant.alone = found
    else:
        contestant.costs.append(spent / found.requests * 1e6)
        contestant.concurrent.append(found)
