"""Spans of requests for an OpenTelemetry collector: a client's trace goes on through the proxy into the shard.

https://www.w3.org/TR/trace-context/. OpenTelemetry is loaded only where tracing is on; off, nothing of this is called.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from proxy.server.messages import Request, identify

if TYPE_CHECKING:
    from opentelemetry.trace import Span

SAMPLED = 0x01
EXPORT_TIMEOUT = 2
"""Seconds for one batch of spans: the end of a worker waits for the last."""


class TracingError(Exception):
    """Tracing cannot be set up; one line."""


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where spans go."""

    endpoint: str = "localhost:4317"
    """HOST:PORT of a collector that speaks OTLP by gRPC, unencrypted; as kube-apiserver's own default."""
    per_million: int = 0
    """Of a million traces, how many are recorded; those that a client has begun are no exception."""


def read_settings(file: Path) -> TracingSettings:
    """Kubernetes' ``TracingConfiguration``, which kube-apiserver's ``--tracing-config-file`` takes as well.

    https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#TracingConfiguration. Raises TracingError.
    """
    try:
        config: Any = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise TracingError(f"{file}: {str(error).splitlines()[0]}") from error
    if not isinstance(config, dict) or config.get("kind") != "TracingConfiguration":
        raise TracingError(f"{file}: wanted a TracingConfiguration of apiserver.config.k8s.io")
    defaults = TracingSettings()
    endpoint = config.get("endpoint", defaults.endpoint)
    rate = config.get("samplingRatePerMillion", defaults.per_million)
    if not isinstance(endpoint, str) or not urlsplit(f"//{endpoint}").hostname:
        raise TracingError(f"{file}: endpoint {endpoint!r}: wanted HOST:PORT")
    if not isinstance(rate, int) or not 0 <= rate <= 1_000_000:
        raise TracingError(f"{file}: samplingRatePerMillion {rate!r}: wanted 0 to 1000000")
    return TracingSettings(endpoint, rate)


def check_installed() -> None:
    """Raises TracingError where OpenTelemetry is missing."""
    try:
        import opentelemetry.exporter.otlp.proto.grpc.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError as error:
        raise TracingError(f"tracing needs OpenTelemetry ({error.name}): pip install 'kcp[tracing]'") from error


class Trace:
    """Of one request."""

    __slots__ = ("asked", "header", "shard_span", "span")

    def __init__(self, span: Span, shard_span: int, header: bytes) -> None:
        self.span = span
        self.shard_span = shard_span
        """Id of the span that the shard's own ones are children of."""
        self.header = header
        """``traceparent`` for the shard."""
        self.asked = 0


class Tracer:
    """An `Observer` (`proxy.server.messages`)."""

    def __init__(self, settings: TracingSettings) -> None:
        """Raises TracingError."""
        check_installed()
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        class Ids(RandomIdGenerator):
            """A span id can be known before its span is made: the shard is told it first."""

            given = 0

            def generate_span_id(self) -> int:
                given, self.given = self.given, 0
                return given or super().generate_span_id()

        self._ids = Ids()
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(settings.per_million / 1_000_000),
            resource=Resource.create({"service.name": "kcp-proxy"}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=settings.endpoint, insecure=True, timeout=EXPORT_TIMEOUT)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("kcp")
        self._kinds = SpanKind
        self._error = StatusCode.ERROR
        self._within = set_span_in_context
        self._propagator = TraceContextTextMapPropagator()

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def arrived(self, request: Request) -> None:
        identify(request)
        headers = {
            name.decode(): value.decode("latin-1")
            for name, value in request.headers
            if name in (b"traceparent", b"tracestate")
        }
        span = self._tracer.start_span("request", self._propagator.extract(headers), self._kinds.SERVER)
        context = span.get_span_context()
        shard_span = random.getrandbits(64) or 1
        sampled = context.trace_flags & SAMPLED
        request.record.trace = Trace(span, shard_span, b"00-%032x-%016x-%02x" % (context.trace_id, shard_span, sampled))

    def decided(self, request: Request) -> None:
        trace = request.record.trace
        if trace is not None:
            trace.asked = time.time_ns()

    def streaming(self, request: Request) -> None:
        pass

    def finished(self, request: Request) -> None:
        record, trace = request.record, request.record.trace
        if trace is None:
            return
        span, info = trace.span, record.info
        if span.is_recording():
            name = f"{info.verb} {info.resource}" if info is not None and info.is_resource else "request"
            span.update_name(name)
            span.set_attributes(
                {
                    "http.request.method": request.method.decode("latin-1"),
                    "http.response.status_code": record.status,
                    "kcp.workspace": record.workspace,
                    "audit-id": record.audit_id.decode("latin-1"),
                    "kcp.step": record.step,
                }
            )
            if record.status >= 500:
                span.set_status(self._error)
            if record.shard_seconds:
                self._ids.given = trace.shard_span
                asked = self._tracer.start_span(
                    f"shard {record.shard}", self._within(span), self._kinds.CLIENT, start_time=trace.asked
                )
                asked.end(trace.asked + int(record.shard_seconds * 1e9))
        span.end()

    def malformed(self, status: int) -> None:
        pass
