"""A receiver of OTLP over HTTP: decodes what a service exports, or is slow, or refuses."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from secret_scan import secrets_seen


class Receiver:
    """What has arrived.

    Attributes:
        url: for `tracing.endpoint`.
        spans: the decoded spans.
        headers: of the last request, by lower-case name.
        delay: seconds before it answers.
    """

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.raw = b""
        self.delay = 0.0

    def requests(self) -> list[Any]:
        """Return the spans of requests (kind SERVER)."""
        return [span for span in self.spans if span.kind == 2]

    def children(self, parent: Any) -> list[Any]:
        return [span for span in self.spans if span.parent_span_id == parent.span_id]

    async def until(self, number: int) -> list[Any]:
        """Wait until so many requests have been exported."""
        async with asyncio.timeout(15):
            while len(self.requests()) < number:  # noqa: ASYNC110  another thread exports
                await asyncio.sleep(0.05)
        return self.requests()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
                self.headers = {name.lower(): value.strip() for name, _, value in lines}
                body = await reader.readexactly(int(self.headers["content-length"]))
                await asyncio.sleep(self.delay)
                self._decode(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    def _decode(self, body: bytes) -> None:
        self.raw += body
        request = ExportTraceServiceRequest.FromString(body)
        for each in request.resource_spans:
            self.resources.append(attributes(each.resource))
            self.spans += [span for scope in each.scope_spans for span in scope.spans]


def attributes(of: Any) -> dict[str, Any]:
    """Return the attributes of a span or a resource."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver for the length of the block."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/traces"
    try:
        yield receiver
    finally:
        server.close()
        secrets_seen.search(receiver.raw.decode("latin-1"), "traces")
