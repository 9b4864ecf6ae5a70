#!/usr/bin/env python
import signal, sys
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import yaml
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
STATUSES = ("Unset", "Ok", "Error")

def show(attributes):
    for one in attributes:
        kind = one.value.WhichOneof("value") or "empty_value"
        print(f"     -> {one.key}: {kind.removesuffix('_value').title()}({getattr(one.value, kind, '')})")

def moment(nanoseconds):
    return datetime.fromtimestamp(nanoseconds / 1e9, timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC")

class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        known = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
        self.send_response(200 if known else 404)
        response = service.ExportTraceServiceResponse().SerializeToString()
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)
        for number, resource in enumerate(service.ExportTraceServiceRequest.FromString(body).resource_spans):
            print(f"ResourceSpans #{number}\nResource attributes:")
            show(resource.resource.attributes)
            for scope in resource.scope_spans:
                print("InstrumentationScope", scope.scope.name, scope.scope.version)
                for index, span in enumerate(scope.spans):
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
                    show(span.attributes)

    def log_message(self, *_):
        pass

with open(sys.argv[1].removeprefix("--config=")) as file:
    config = yaml.safe_load(file)
pipeline = config["service"]["pipelines"]["traces"]
assert pipeline == {"receivers": ["otlp"], "exporters": ["debug"]}
assert config["exporters"] == {"debug": {"verbosity": "detailed"}}
host, port = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].split(":")
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
ThreadingHTTPServer((host, int(port)), Receiver).serve_forever()
