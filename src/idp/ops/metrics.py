"""Prometheus metrics (S3-65 to S3-69, S4-43): one registry a process, names as the contract lists them."""

import platform
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from idp.ops import fast_metrics
from idp.ops.merged_metrics import Family, Rule

REGISTRY = CollectorRegistry()
if platform.python_implementation() == "CPython":
    GCCollector(registry=REGISTRY)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

MEDIA_TYPE = "text/plain; version=0.0.4"  # the framework adds the charset
_OF_A_PROCESS = ("process_", "python_")  # beginnings of names
# When facts of the whole deployment were last measured here; with several processes the newest value counts.
_set_at = {
    "idp_mail_pending": 0.0,
    "idp_outbox_pending": 0.0,
    "idp_outbox_parked": 0.0,
    "idp_sync_drift": 0.0,
    "idp_signing_key_since_timestamp_seconds": 0.0,
}
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

_requests = fast_metrics.Counter(
    "auth_request", "Requests answered, by route template.", ["method", "endpoint", "http_status"], REGISTRY
)
_latency = fast_metrics.Histogram(
    "auth_request_latency_seconds",
    "Time to answer, by route template.",
    ["endpoint"],
    bounds=_FAST,
    registry=REGISTRY,
)
_attempts = fast_metrics.Counter(
    "idp_auth_attempts",
    "Authentication attempts, by method and outcome.",
    ["method", "outcome"],
    REGISTRY,
)
_validations = fast_metrics.Counter(
    "idp_token_validations", "Verdicts of /auth/validate.", ["kind", "result"], REGISTRY
)
_validation_time = fast_metrics.Histogram(
    "idp_token_validation_seconds",
    "Time to a verdict, by where it came from.",
    ["kind", "source"],
    bounds=_FAST,
    registry=REGISTRY,
)
_cache = fast_metrics.Counter(
    "idp_cache_requests", "Verdicts by where they came from: memory, shared, database.", ["result"], REGISTRY
)
_queries = Histogram(
    "idp_db_query_seconds", "Time of a database statement.", ["operation"], buckets=_FAST, registry=REGISTRY
)
_pool = Gauge("idp_db_pool_in_use", "Database connections in use.", registry=REGISTRY)
_queue = Gauge("idp_command_queue_depth", "Changes to keys that wait for the command processor.", registry=REGISTRY)
_commands = Histogram(
    "idp_command_seconds", "Time from asking for a change to its commit.", ["command"], buckets=_FAST, registry=REGISTRY
)
_mails = Counter(
    "idp_mail_total",
    "Attempts to send a mail, by outcome: sent, put_off, failed.",
    ["outcome"],
    registry=REGISTRY,
)
_mail_pending = Gauge("idp_mail_pending", "Mails waiting in the outbox.", registry=REGISTRY)
_leases = Gauge(
    "idp_change_leases",
    "Processes that receive changes, and so may use cached verdicts: 1, or the workers.",
    registry=REGISTRY,
)
_signing_keys = Gauge(
    "idp_signing_key_since_timestamp_seconds",
    "Since when the current key of an algorithm signs (seconds since 1970).",
    ["algorithm"],
    registry=REGISTRY,
)
_connections = Gauge("idp_connections", "Open client connections.", registry=REGISTRY)
_dropped = Counter(
    "idp_connections_dropped_total",
    "Connections closed or refused at a limit: silent, address_limit, limit.",
    ["reason"],
    registry=REGISTRY,
)
_outbox_pending = Gauge(
    "idp_outbox_pending", "Events in idp.outbox that wait for Kafka; 0 without Kafka.", registry=REGISTRY
)
_webhooks = Counter(
    "idp_webhook_events_total", "Received webhooks, by type and outcome.", ["type", "outcome"], registry=REGISTRY
)
_deliveries = Counter(
    "idp_webhook_deliveries_total", "Attempts to deliver events to webhooks.", ["result"], registry=REGISTRY
)
_logout_notifications = Counter(
    "idp_logout_notifications_total",
    "Attempts to tell clients of a logout: delivered, refused, failed.",
    ["result"],
    registry=REGISTRY,
)
_drift = Gauge(
    "idp_sync_drift", "Users that differ from Clerk's list, by the last comparison.", ["kind"], registry=REGISTRY
)
_outbox_parked = Gauge(
    "idp_outbox_parked", "Events that Kafka refused for good (`idp events parked`).", registry=REGISTRY
)
_published = Counter("idp_events_published_total", "Events that Kafka has acknowledged.", registry=REGISTRY)
_limited = Counter("idp_rate_limited_total", "Requests refused by a rate limit.", ["rule"], registry=REGISTRY)


def observe_request(*, method: str, endpoint: str, status: int, seconds: float) -> None:
    """Count an answer. `endpoint` is the route's template, never the raw path."""
    _requests.count(method, endpoint, str(status))
    _latency.observe(seconds, endpoint)


def count_attempt(*, method: str, outcome: str) -> None:
    """Count a sign-in; `outcome` is `authenticated` or an error code."""
    _attempts.count(method, outcome)


def count_validation(*, kind: str, result: str) -> None:
    """Count a verdict of /auth/validate."""
    _validations.count(kind, result)


def observe_decision(kind: str, method: str, outcome: str, source: str, seconds: float) -> None:
    """Count a decision about a credential.

    Args:
        kind: of credential, as in /auth/validate; `none` for a bad one.
        method: of authentication.
        outcome: `authenticated`, or an error code.
        source: where the verdict came from: `memory`, `shared` or `database`.
        seconds: how long it took.
    """
    _attempts.count(method, outcome)
    _cache.count(source)
    _validation_time.observe(seconds, kind, source)


def observe_query(*, operation: str, seconds: float) -> None:
    """Count a statement; `operation` is its first word, such as `select`."""
    _queries.labels(operation).observe(seconds)


def count_limited(rule: str) -> None:
    """Count a request that a rate limit refused."""
    _limited.labels(rule).inc()


def count_mail(*, outcome: str) -> None:
    """Count an attempt to send a mail: `sent`, `put_off` or `failed`. Its template would reveal who has an account."""
    _mails.labels(outcome).inc()


def count_webhook(*, type: str, outcome: str) -> None:  # noqa: A002
    """Count a webhook. Both labels come from fixed lists, never from the message."""
    _webhooks.labels(type, outcome).inc()


def count_delivery(*, result: str) -> None:
    """Count an attempt to deliver an event: `delivered`, `rejected`, `failed` or `gone`."""
    _deliveries.labels(result).inc()


def count_logout_notification(*, result: str) -> None:
    """Count an attempt to tell a client of a logout: `delivered`, `refused` or `failed`."""
    _logout_notifications.labels(result).inc()


def set_sync_drift(kind: str, number: int) -> None:
    """Set how many users differ: `missing`, `changed`, `deleted` or `conflicting`."""
    _drift.labels(kind).set(number)
    _set_at["idp_sync_drift"] = time.monotonic()


def set_outbox_sizes(*, pending: int, parked: int) -> None:
    """Set the numbers of events that wait for Kafka, and that it refused for good."""
    _outbox_pending.set(pending)
    _outbox_parked.set(parked)
    _set_at["idp_outbox_pending"] = _set_at["idp_outbox_parked"] = time.monotonic()


def count_published(number: int) -> None:
    """Count events that Kafka has acknowledged."""
    _published.inc(number)


def set_mail_pending(number: int) -> None:
    """Set the number of waiting mails, of all processes together."""
    _mail_pending.set(number)
    _set_at["idp_mail_pending"] = time.monotonic()


def observe_command(*, command: str, seconds: float) -> None:
    """Count a change to keys."""
    _commands.labels(command).observe(seconds)


def watch_command_queue(depth: Callable[[], int]) -> None:
    """Read the gauge of waiting changes from this function."""
    _queue.set_function(depth)


def watch_lease(is_valid: Callable[[], bool]) -> None:
    """Read from this function whether the process receives changes."""
    _leases.set_function(lambda: float(is_valid()))


def set_signing_key(algorithm: str, since: float) -> None:
    """Set since when the current key of an algorithm signs (seconds since 1970)."""
    _signing_keys.labels(algorithm).set(since)
    _set_at["idp_signing_key_since_timestamp_seconds"] = time.monotonic()


def watch_pool(in_use: Callable[[], int]) -> None:
    """Read the gauge of database connections in use from this function."""
    _pool.set_function(in_use)


def watch_connections(number: Callable[[], int]) -> None:
    """Read the gauge of open client connections from this function."""
    _connections.set_function(number)


def count_dropped_connection(reason: str) -> None:
    """Count a connection that a limit closed: `silent`, or refused: `address_limit`, `limit`."""
    _dropped.labels(reason).inc()


def exposition() -> bytes:
    """Return this process's metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)


def snapshot() -> list[Family]:
    """Return this process's metrics, to be merged with those of others."""
    return [
        Family(
            each.name,
            each.type,
            each.documentation,
            _rule(each.name),
            _set_at.get(each.name, 0.0),
            [(sample.name, sample.labels, sample.value) for sample in each.samples],
        )
        for each in REGISTRY.collect()
    ]


def _rule(name: str) -> Rule:
    if name.startswith(_OF_A_PROCESS):
        return "worker"
    return "newest" if name in _set_at else "sum"


class _Merged(CollectorRegistry):
    """Shows merged families."""

    def __init__(self, families: Iterable[Any]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for each in self._families:
            family = Family(*each)
            metric = Metric(family.name, family.help, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, labels, value)
            yield metric


def exposition_of(families: Iterable[Any]) -> bytes:
    """Return merged metrics in Prometheus' text format."""
    return generate_latest(_Merged(families))
