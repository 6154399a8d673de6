"""Loading in turns: every contestant of a scenario in every round, so that a noisy minute hits all of them."""

from collections.abc import Iterable
from math import inf
from statistics import median

from msgspec import Struct

from bench import cpu, load
from bench.load import Found, LoadFailed
from bench.population import NotBuilt
from bench.requests import REQUESTS_OF
from bench.scenarios import Scenario
from bench.server import Server
from bench.sources import Sources
from bench.traffic import Request, Traffic, WrongAnswer
from bench.world import World

CEILING, SERVICE = "ceiling", "idp"
CONNECTIONS = 32
_WARM_UPS, _STEADY = 6, 0.93  # at most so many; a cost above this part of the one before is steady


class Plan(Struct, frozen=True):
    """How long: rounds of so many seconds at 32 connections, then so many seconds at one."""

    rounds: int
    seconds: float
    alone_seconds: float
    warm_up_seconds: float

    @property
    def seconds_each(self) -> float:
        """How long one contestant is loaded in one scenario."""
        return self.warm_up_seconds + self.rounds * self.seconds + self.alone_seconds


class Contestant(Struct):
    """A server, what it is asked, and what came of it.

    Attributes:
        costs: processor time a request, one figure a round (microseconds).
        crowded: what 32 connections found, one a round.
        alone: what one connection found.
        trouble: why there are no figures.
    """

    name: str
    server: Server | None = None
    traffic: Traffic | None = None
    costs: list[float] = []
    crowded: list[Found] = []
    alone: Found | None = None
    trouble: str = ""

    @property
    def cost(self) -> float:
        """The median round's processor time a request (microseconds)."""
        return median(self.costs)


def measure(scenario: Scenario, world: World, plan: Plan) -> list[Contestant]:
    """Measure a scenario: the ceiling first, then the service, then its peers."""
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
    if not service.trouble:
        yield _ceiling(service, world)
    yield service
    for beside in scenario.beside:
        peer = next((peer for peer in world.peers if peer.server.name == beside.peer), None)
        if peer is None:
            yield Contestant(beside.peer, trouble="not installed")
        else:
            yield _checked(Contestant(beside.peer, peer.server, peer.traffic[beside.asked]))


def _service(scenario: Scenario, world: World) -> Contestant:
    try:
        server, traffic = REQUESTS_OF[scenario.name](world)
    except NotBuilt as missing:
        return Contestant(SERVICE, trouble=f"not built yet: {missing}")
    return _checked(Contestant(SERVICE, server, traffic))


def _checked(contestant: Contestant) -> Contestant:
    assert contestant.server is not None
    assert contestant.traffic is not None
    try:
        contestant.traffic.check(contestant.server.base_url)
    except WrongAnswer as error:
        contestant.trouble = str(error)
    if contestant.server.idle_megabytes is None:
        contestant.server.idle_megabytes = cpu.resident_megabytes(contestant.server.pid)
    return contestant


def _ceiling(service: Contestant, world: World) -> Contestant:
    """The ceiling, which gets the same headers and body and gives back as many bytes."""
    assert service.server is not None
    assert service.traffic is not None
    size = service.traffic.check(service.server.base_url)
    like = service.traffic.requests[0]
    same = Request(like.method, f"/{size}", like.headers, like.body)
    return _checked(Contestant(CEILING, world.ceiling, Traffic([same])))


def _warm_up(contestant: Contestant, plan: Plan) -> None:
    """Load until a request no longer gets cheaper: Node compiles what runs often, in several steps."""
    traffic = contestant.traffic
    if traffic is None or traffic.is_warm:
        return
    before = inf
    for _ in range(1 if traffic.once else _WARM_UPS):
        _attempt(contestant, seconds=plan.warm_up_seconds)
        if contestant.trouble or contestant.costs[-1] > _STEADY * before:
            break
        before = contestant.costs[-1]
    traffic.is_warm = True
    contestant.costs, contestant.crowded = [], []


def _attempt(contestant: Contestant, *, seconds: float, alone: bool = False) -> None:
    if contestant.trouble or contestant.server is None or contestant.traffic is None:
        return
    server, source = contestant.server, contestant.traffic.source
    sources = Sources(server.base_url) if source else None
    before = cpu.seconds_of(server.pid)
    try:
        found = load.run(server.base_url, contestant.traffic, connections=1 if alone else CONNECTIONS, seconds=seconds)
    except LoadFailed as error:
        contestant.trouble = str(error)
        return
    spent = cpu.seconds_of(server.pid) - before
    if found.refused or found.broken or not found.requests:
        contestant.trouble = f"{found.refused} refused, {found.broken} broken of {found.requests} answers"
    elif sources and source and (complaint := sources.complaint(source)):
        contestant.trouble = complaint
    elif alone:
        contestant.alone = found
    else:
        contestant.costs.append(spent / found.requests * 1e6)
        contestant.crowded.append(found)
