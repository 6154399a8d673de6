"""OpenTelemetry traces (decision 0056): spans of requests and of what they wait for, exported over OTLP/HTTP.

Without `tracing.endpoint` nothing of OpenTelemetry is imported. A span has names, numbers and statuses: no path, query,
header, body, address of a person, parameter of a statement or token.
"""

import asyncio
import random
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from idp.settings_schema import Tracing as TracingSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext, Tracer

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")
_QUEUE = 2048  # spans that wait for the collector; more are dropped
_BATCH = 512
_EXPORT_SECONDS = 5.0
_EVERY_SECONDS = 2.0
_STOP_SECONDS = 2.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SERVER_ERROR = 500

Serve = Callable[[Any, Any, Any], Awaitable[None]]


class Trace:
    """The trace that a request belongs to.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16, of the span of this service; None if the request is not sampled.
    """

    __slots__ = ("_span", "_tracer", "span_id", "trace_id")

    def __init__(self, trace_id: str, span: "Span | None" = None, tracer: "Tracer | None" = None) -> None:
        self.trace_id = trace_id
        self.span_id = f"{span.get_span_context().span_id:016x}" if span is not None else None
        self._span, self._tracer = span, tracer

    def describe(self, *, route: str, status: int) -> None:
        """Note the route's template and the status of the answer."""
        if self._span is None or self._tracer is None:
            return
        method = getattr(self._span, "name", "")
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes({"http.route": route, "http.response.status_code": status})
        if status >= _SERVER_ERROR:
            self._fail(str(status))

    def child(self, name: str, started: int, attributes: Mapping[str, str], error: str | None) -> None:
        """Add a span that ends now; after the end of the request none is added."""
        if self._span is None or self._tracer is None or not self._span.is_recording():
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        context = set_span_in_context(self._span)
        span = self._tracer.start_span(
            name, context, kind=SpanKind.CLIENT, start_time=started, attributes=dict(attributes)
        )
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def end(self) -> None:
        if self._span is not None:
            self._span.end()

    def _fail(self, kind: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        assert self._span is not None
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR))


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)
_running: "Tracing | None" = None


def current() -> Trace | None:
    """Return the trace of the current request, None if there is none."""
    return _current.get()


def record(name: str, started: int, error: BaseException | None = None, **attributes: str) -> None:
    """Add a span that ends now to the current trace.

    Args:
        name: from a short list.
        started: `time.time_ns()` of its beginning.
        error: why it failed.
        attributes: with `_` instead of `.` in their names.
    """
    if (trace := _current.get()) is not None:
        named = {key.replace("_", "."): value for key, value in attributes.items()}
        trace.child(name, started, named, type(error).__name__ if error is not None else None)


@contextmanager
def waiting_for(name: str, **attributes: str) -> Iterator[None]:
    """Record the block, as `record` does."""
    started, failure = time.time_ns(), None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        record(name, started, failure, **attributes)


@contextmanager
def background(name: str) -> Iterator[None]:
    """Make the block a trace of its own, if it is sampled: for work that no request waits for."""
    trace = _running.begin(name, ()) if _running is not None else None
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)
        if trace is not None:
            trace.end()


class Tracing:
    """Samples requests and exports their spans.

    Args:
        settings: the endpoint is set.
        version: of the service.
    """

    def __init__(self, settings: TracingSettings, *, version: str) -> None:
        self._settings = settings
        self._version = version
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None

    def start(self) -> None:
        """Start the thread that exports. A process that was forked calls this itself."""
        global _running
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        settings = self._settings
        exporter = OTLPSpanExporter(settings.endpoint, headers=self._headers(), timeout=_EXPORT_SECONDS)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # `begin` decides
            resource=Resource({"service.name": settings.service_name, "service.version": self._version}),
            span_limits=SpanLimits(max_span_attributes=32, max_span_attribute_length=256, max_events=0, max_links=0),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=_QUEUE,
                max_export_batch_size=_BATCH,
                schedule_delay_millis=_EVERY_SECONDS * 1000,
                export_timeout_millis=_EXPORT_SECONDS * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("idp", self._version)
        _running = self

    async def stop(self) -> None:
        """Export what waits, unless the collector takes longer than two seconds."""
        global _running
        provider, self._provider, self._tracer = self._provider, None, None
        if _running is self:
            _running = None
        if provider is None:
            return
        thread = threading.Thread(target=provider.shutdown, daemon=True)
        thread.start()
        until = time.monotonic() + _STOP_SECONDS
        while thread.is_alive() and time.monotonic() < until:  # noqa: ASYNC110  a thread has no event
            await asyncio.sleep(0.02)

    def wrap(self, serve: Serve) -> Serve:
        """Return the ASGI application with a trace around each request."""

        async def traced(scope: Any, receive: Any, send: Any) -> None:
            method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
            trace = self.begin(method, scope["headers"], is_request=True)
            token = _current.set(trace)
            try:
                await serve(scope, receive, send)
            finally:
                _current.reset(token)
                if trace is not None:
                    trace.end()

        return traced

    def begin(self, name: str, headers: Any, *, is_request: bool = False) -> Trace | None:
        """Begin a trace, or continue that of the caller (W3C Trace Context).

        A caller can only lower the number of sampled requests, unless `tracing.trust_sampled_flag` is set: otherwise
        anybody could have all requests exported.
        """
        if self._tracer is None:
            return None
        parent, wanted = _parent(headers)
        if parent is not None and wanted and self._settings.trust_sampled_flag:
            is_sampled = True
        else:
            is_sampled = (parent is None or wanted) and random.random() < self._settings.sample_ratio  # noqa: S311
        if not is_sampled:
            return Trace(f"{parent.trace_id:032x}") if parent is not None else None
        from opentelemetry.trace import NonRecordingSpan, SpanKind, set_span_in_context

        context = set_span_in_context(NonRecordingSpan(parent)) if parent is not None else None
        kind = SpanKind.SERVER if is_request else SpanKind.INTERNAL
        attributes = {"http.request.method": name} if is_request else {}
        span = self._tracer.start_span(name, context, kind=kind, attributes=attributes)
        return Trace(f"{span.get_span_context().trace_id:032x}", span, self._tracer)

    def _headers(self) -> dict[str, str]:
        """Return the headers for the collector, from `name=value,name=value`."""
        text = self._settings.headers.reveal() if self._settings.headers is not None else ""
        pairs = (part.partition("=") for part in text.split(",") if part.strip())
        return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _parent(headers: Any) -> "tuple[SpanContext | None, bool]":
    """Return the caller's span and whether it is sampled, from `traceparent`; (None, False) without a valid one."""
    values = [value for name, value in headers if name == b"traceparent"]
    match = _TRACEPARENT.match(values[0].decode("latin-1").strip()) if len(values) == 1 else None
    if match is None or (match[1] == "00" and match[5]):
        return None, False
    from opentelemetry.trace import SpanContext, TraceFlags

    wanted = bool(int(match[4], 16) & TraceFlags.SAMPLED)
    context = SpanContext(int(match[2], 16), int(match[3], 16), is_remote=True, trace_flags=TraceFlags(wanted))
    return context, wanted
