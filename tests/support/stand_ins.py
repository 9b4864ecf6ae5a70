"""Servers that the recipes name, such as PostgreSQL: their official images, or stand-ins from Debian packages.

A stand-in has the name, the user, the variables and the paths of the official image. It is built only on a machine that
has no image of this name and cannot pull it.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import ROOT, run
from tests.support.docker import check_build
from tools.questionnaire import base_image

INSTALL = f"""
FROM {base_image()}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends """

# A new database with the user, the password and the name from the official image's variables, then the server.
START_POSTGRES = """#!/bin/sh
set -eu
export PATH="$(echo /usr/lib/postgresql/*/bin):$PATH" PGDATA=/var/lib/postgresql/data
user=${POSTGRES_USER:-postgres}
if [ "$(id -u)" = 0 ]; then
    chown postgres:postgres /var/lib/postgresql
    exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -z "${POSTGRES_PASSWORD_FILE:-}${POSTGRES_PASSWORD:-}" ]; then
        echo "Error: Database is uninitialized and superuser password is not specified." >&2
        exit 1
    fi
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE"); fi
    printf %s "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username="$user" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust >/dev/null
    rm /tmp/password
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    database=${POSTGRES_DB:-$user}
    pg_ctl --wait --options="-c listen_addresses=''" start >/dev/null
    [ "$database" = postgres ] || createdb --username="$user" "$database"
    pg_ctl --wait stop >/dev/null
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
"""

# Checks the parts of a collector's configuration that the recipe has, and prints spans as the debug exporter does.
OTELCOL = """#!/usr/bin/env python
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
            print(f"ResourceSpans #{number}\\nResource attributes:")
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
"""

# The Dockerfile of each stand-in, by the name of the image. The files that it copies are in FILES.
DOCKERFILES = {
    "postgres:18": f"""{INSTALL}postgresql && install --directory --owner=postgres --group=postgres /var/run/postgresql
COPY --chmod=0755 start-postgres /usr/local/bin/
ENTRYPOINT ["start-postgres"]
CMD ["postgres"]
ENV PATH=/usr/lib/postgresql/17/bin:$PATH
STOPSIGNAL SIGINT
""",
    "prom/prometheus:v3.13.2": f"""{INSTALL}prometheus \\
    && install --directory --owner=nobody --group=nogroup /prometheus
USER nobody
VOLUME /prometheus
WORKDIR /prometheus
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
EXPOSE 9090
""",
    "otel/opentelemetry-collector:0.162.0": f"""
FROM {base_image()}
ENV PYTHONUNBUFFERED=1
RUN pip install --quiet --root-user-action=ignore opentelemetry-proto pyyaml
COPY --chmod=0755 otelcol /
USER 10001
ENTRYPOINT ["/otelcol"]
CMD ["--config=/etc/otelcol/config.yaml"]
EXPOSE 4317 4318
""",
}
FILES = {"start-postgres": START_POSTGRES, "otelcol": OTELCOL}


@contextmanager
def servers(text: str) -> Iterator[None]:
    """Provide the images that a text names, and remove the stand-ins afterwards."""
    built = []
    for name, dockerfile in DOCKERFILES.items():
        if name not in text or any(
            run("docker", *get, name, cwd=ROOT).returncode == 0 for get in (["image", "inspect"], ["pull"])
        ):
            continue
        with tempfile.TemporaryDirectory() as folder:
            for file, content in {"Dockerfile": dockerfile, **FILES}.items():
                (Path(folder) / file).write_text(content)
            check_build(Path(folder), name)
        built.append(name)
    try:
        yield
    finally:
        if built:
            run("docker", "image", "rm", "--force", *built, cwd=ROOT)
