"""Each fault under load: only success or 503, healed by itself, nothing lost that was acknowledged."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cli.support import wait_until
from faults.cluster_support import running_cluster
from faults.fault_registry_support import FAULTS, Fault
from faults.load_support import Load, load_on
from faults.nodes_support import Cluster
from faults.reliability_support import Row, seen

pytestmark = pytest.mark.alone

QUIET = 1.0  # seconds without a refusal after which a fault counts as healed
NOISE = 0.02  # part of the answers that a machine that stands still for a second may refuse
_BEFORE = 0.7


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three production processes and their servers."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.mark.parametrize("fault", [pytest.param(fault, id=name) for name, fault in FAULTS.items()])
def test_a_fault_is_503_at_worst_heals_by_itself_and_loses_nothing(
    cluster: Cluster, fault: Fault, record_property: Callable[[str, object], None]
) -> None:
    with contextmanager(fault.happening)(cluster) as cause, load_on(cluster) as load:
        time.sleep(_BEFORE)
        began = time.monotonic()
        cause()
        ended = time.monotonic()
        healed = wait_until_healed(load, since=ended, seconds=fault.heals_within + 5)
        settled = wait_until_settled(cluster, fault, since=ended)
    meanwhile = [each for each in load.answers if each.ended >= began]
    lost, came_true = load.ledger.lost(cluster), load.ledger.came_true(cluster)
    row = Row(
        fault.title, fault.how, seen(meanwhile), max(each.seconds for each in meanwhile), max(healed, settled),
        load.ledger.acknowledged, len(lost) + fault.unsettled(cluster), len(came_true),
    )  # fmt: skip
    record_property(*row.as_property())
    assert not [each.wrong for each in load.answers if each.wrong and each.code not in fault.may_see]
    assert (row.lost, lost, came_true) == (0, [], [])
    unexpected = [each.code for each in meanwhile if each.code and each.code not in fault.may_see]
    assert not [code for code in unexpected if " " in code]  # all are 503
    assert fault.may_refuse or len(unexpected) <= NOISE * len(meanwhile), unexpected
    assert row.longest < fault.longest
    assert row.healed < fault.heals_within


def wait_until_healed(load: Load, *, since: float, seconds: float) -> float:
    """Wait until every process answers every kind of request for a while; return when the last refusal ended."""
    deadline = since + seconds
    while True:
        last = max(load.last_refusal(), since)
        if time.monotonic() > last + QUIET and load.all_answered_since(last):
            return last - since
        assert time.monotonic() < deadline, load.refusals_since(since)
        time.sleep(0.05)


def wait_until_settled(cluster: Cluster, fault: Fault, *, since: float) -> float:
    """Wait until what waited is done; return how long after the fault, 0 if it was done when it had healed."""
    if fault.has_settled(cluster):
        return 0.0
    wait_until(lambda: fault.has_settled(cluster), fault.heals_within, "what waited")
    return time.monotonic() - since
