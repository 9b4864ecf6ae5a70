"""Traces: the spans of all workers, the last ones before a stop, and a collector that does not respond."""

import json
import re
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.docker import HANGING_SERVER, HARDENED, Container, container
from tests.support.packages import application_loads
from tests.support.recipes import RecipeProject
from tools.questionnaire import base_image

pytestmark = pytest.mark.slow

# A route that logs, and then fails.
FAIL = '''

@{router}.get("/fail/<_>")
def fail(_: str) -> None:
    """Fail."""
    log.warning("about to fail")
    raise RuntimeError("planted")
'''
ROUTES = {"fastapi": FAIL.format(router="app").replace("<_>", "{_}"), "flask": FAIL.format(router="routes")}


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_traces_of_all_workers_are_complete(framework: str, new_project: Callable[[str, str], RecipeProject]) -> None:
    project = new_project("tracing", framework)
    project.follow()
    with (project.folder / "src" / "my_service" / "app.py").open("a") as file:
        file.write(ROUTES[framework])
    project.check_make("build")
    image = project.production_image()
    network = f"--network={project.folder.name}_default"
    options = (*HARDENED, "--tmpfs=/tmp", "--user=12345:0", network, "--env=WEB_CONCURRENCY=2", "--env=LOG_FORMAT=json")

    def service_with(endpoint: str) -> tuple[str, ...]:
        return (image, *options, f"--env=OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}")

    detectors = "--env=OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=otel,process"  # adds the process ID of the worker
    with container(*service_with("http://collector:4318"), detectors) as service:
        check_spans(project, service, "/fail/{_}" if framework == "fastapi" else "/fail/<_>")
    with container(*service_with("http://collector:1")) as service:
        check_unreachable(service)
    with (
        container(base_image(), network, "--network-alias=hanging", port=4318, command=(*HANGING_SERVER, "4318")),
        container(*service_with("http://hanging:4318")) as service,
    ):
        check_unreachable(service)
    assert not application_loads(image, "opentelemetry.sdk")


def check_spans(project: RecipeProject, service: Container, route: str) -> None:
    """Check the spans of some requests, the last of which end just before the service stops."""
    traces = [uuid.uuid4().hex for _ in range(200)]
    assert service.get("/health").status == 200
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda trace: send(service, "/fail/1", trace), traces))
    assert {status for status, _ in responses} == {500}
    code, seconds = service.stop()
    assert code == 0
    assert seconds < 20
    spans = project.run("docker", "compose", "logs", "--no-log-prefix", "collector")
    for trace in traces:
        parent = f"Trace ID       : {trace}\n    Parent ID      : {trace[:16]}\n"
        assert len(re.findall(f"{parent}.*\n    Name           : GET {re.escape(route)}\n", spans)) == 1
    assert len(set(re.findall(r"-> process\.pid: .*", spans))) == 2
    assert "GET /health" not in spans
    entries = [json.loads(line) for line in service.logs().splitlines()]
    for trace in traces:
        (request_id,) = {entry["request_id"] for entry in entries if entry.get("trace_id") == trace}
        found = [entry for entry in entries if entry.get("request_id") == request_id]
        assert len(found) == 3  # the warning, the traceback, and the request
        assert {entry.get("trace_id") for entry in found} == {trace}


def check_unreachable(service: Container) -> None:
    """Check that a collector that does not respond delays no request, and a stop only for some seconds."""
    service.get("/")
    for _ in range(2):
        # A request that waits for the collector would take at least 2 s.
        assert sum(send(service, "/", uuid.uuid4().hex)[1] for _ in range(20)) < 20
        time.sleep(6)  # the SDK tries to send the spans
    send(service, "/", uuid.uuid4().hex)
    code, seconds = service.stop()
    print(f"stopped after {seconds:.1f} s")
    assert code == 0
    assert seconds < 20


def send(service: Container, path: str, trace: str) -> tuple[int, float]:
    """Send a request that is part of a trace, and return its status and the seconds that it took."""
    start = time.monotonic()
    status = service.get(path, headers={"traceparent": f"00-{trace}-{trace[:16]}-01"}).status
    return status, time.monotonic() - start
