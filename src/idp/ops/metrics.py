"""Prometheus metrics (S3-65 to S3-69, S4-43): one registry a process, names as the contract lists them."""

import functools
import platform
from collections.abc import Callable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

REGISTRY = CollectorRegistry()
if platform.python_implementation() == "CPython":
    GCCollector(registry=REGISTRY)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

M = TypeVar("M", Counter, Histogram)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

_requests = Counter(
    "auth_request_total",
    "Requests answered, by route template.",
    ["method", "endpoint", "http_status"],
    registry=REGISTRY,
)
_latency = Histogram(
    "auth_request_latency_seconds",
    "Time to answer, by route template.",
    ["endpoint"],
    buckets=_FAST,
    registry=REGISTRY,
)
_attempts = Counter(
    "idp_auth_attempts_total",
    "Credentials decided about, by how they were proven and what came of it.",
    ["method", "outcome"],
    registry=REGISTRY,
)
_validations = Counter(
    "idp_token_validations_total", "Verdicts of /auth/validate.", ["kind", "result"], registry=REGISTRY
)
_validation_time = Histogram(
    "idp_token_validation_seconds",
    "Time to a verdict, by where it came from.",
    ["kind", "source"],
    buckets=_FAST,
    registry=REGISTRY,
)
_queries = Histogram(
    "idp_db_query_seconds", "Time of a database statement.", ["operation"], buckets=_FAST, registry=REGISTRY
)
_pool = Gauge("idp_db_pool_in_use", "Database connections in use.", registry=REGISTRY)
_queue = Gauge("idp_command_queue_depth", "Changes to keys that wait for the single writer.", registry=REGISTRY)
_commands = Histogram(
    "idp_command_seconds", "Time from asking for a change to its commit.", ["command"], buckets=_FAST, registry=REGISTRY
)
_cache = Counter(
    "idp_cache_requests_total",
    "Verdicts by where they came from: memory, shared, database.",
    ["result"],
    registry=REGISTRY,
)
_limited = Counter("idp_rate_limited_total", "Requests refused by a rate limit.", ["rule"], registry=REGISTRY)


@functools.cache
def _child(metric: M, *labels: str) -> M:
    """Return the metric of these labels; the library looks each of them up anew at every call."""
    return metric.labels(*labels)


def observe_request(*, method: str, endpoint: str, status: int, seconds: float) -> None:
    """Count an answer. `endpoint` is the route's template, never the raw path."""
    _child(_requests, method, endpoint, str(status)).inc()
    _child(_latency, endpoint).observe(seconds)


def count_attempt(*, method: str, outcome: str) -> None:
    """Count a decision about a credential; `outcome` is `authenticated` or an error code."""
    _child(_attempts, method, outcome).inc()


def count_validation(*, kind: str, result: str) -> None:
    """Count a verdict of /auth/validate."""
    _child(_validations, kind, result).inc()


def observe_decision(*, kind: str, source: str, seconds: float) -> None:
    """Count where a verdict came from, and how long it took; `source` is `memory`, `shared` or `database`."""
    _child(_cache, source).inc()
    _child(_validation_time, kind, source).observe(seconds)


def observe_query(*, operation: str, seconds: float) -> None:
    """Count a statement; `operation` is its first word, such as `select`."""
    _queries.labels(operation).observe(seconds)


def count_limited(rule: str) -> None:
    """Count a request that a rate limit refused."""
    _limited.labels(rule).inc()


def observe_command(*, command: str, seconds: float) -> None:
    """Count a change to keys."""
    _commands.labels(command).observe(seconds)


def watch_command_queue(depth: Callable[[], int]) -> None:
    """Let the gauge ask how many changes wait."""
    _queue.set_function(depth)


def watch_pool(in_use: Callable[[], int]) -> None:
    """Let the gauge ask how many connections are in use."""
    _pool.set_function(in_use)


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
