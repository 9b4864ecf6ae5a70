#!/usr/bin/env python
"""Receives spans as an OpenTelemetry collector does, and prints them like its debug exporter.

It accepts the configuration of the recipe for tracing only.
"""

import signal
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
STATUSES = ("Unset", "Ok", "Error")
# Requests are handled in threads. The lines of one must not be mixed with those of another.
PRINTING = threading.Lock()


def show_attributes(attributes: Iterable[Any]) -> None:
    """Print attributes, one on each line."""
    for one in attributes:
        kind = one.value.WhichOneof("value") or "empty_value"
        print(f"     -> {one.key}: {kind.removesuffix('_value').title()}({getattr(one.value, kind, '')})")


def moment(nanoseconds: int) -> str:
    """Return a time as text."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC")


def show_span(index: int, span: Any) -> None:
    """Print a span."""
    print(f"Span #{index}")
    print("    Trace ID       :", span.trace_id.hex())
    print("    Parent ID      :", span.parent_span_id.hex())
    print("    ID             :", span.span_id.hex())
    print("    Name           :", span.name)
    print("    Kind           :", KINDS[span.kind])
    print("    Start time     :", moment(span.start_time_unix_nano))
    print("    End time       :", moment(span.end_time_unix_nano))
    print("    Status code    :", STATUSES[span.status.code])
    print("    Status message :", span.status.message)
    print("Attributes:")
    show_attributes(span.attributes)


def show_request(request: Any) -> None:
    """Print the spans of a request."""
    for number, resource in enumerate(request.resource_spans):
        print(f"ResourceSpans #{number}\nResource attributes:")
        show_attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            print("InstrumentationScope", scope.scope.name, scope.scope.version)
            for index, span in enumerate(scope.spans):
                show_span(index, span)


class Receiver(BaseHTTPRequestHandler):
    """Receives spans by OTLP over HTTP: https://opentelemetry.io/docs/specs/otlp/#otlphttp."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Print the spans of a request, then respond."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        known = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
        if known:
            with PRINTING:
                show_request(service.ExportTraceServiceRequest.FromString(body))
        self.send_response(200 if known else 404)
        response = service.ExportTraceServiceResponse().SerializeToString()
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    def log_message(self, *_: object) -> None:
        """Print no log entry for a request."""


def main(argument: str) -> None:
    """Serve until SIGTERM, with the configuration file of an argument such as `--config=FILE`."""
    with open(argument.removeprefix("--config=")) as file:
        config = yaml.safe_load(file)
    pipeline = config["service"]["pipelines"]["traces"]
    assert pipeline == {"receivers": ["otlp"], "exporters": ["debug"]}
    assert config["exporters"] == {"debug": {"verbosity": "detailed"}}
    host, port = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].split(":")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ThreadingHTTPServer((host, int(port)), Receiver).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
