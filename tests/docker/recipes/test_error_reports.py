"""Error reports: what a server receives, before the service stops, and a server that does not respond."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.docker import HANGING_SERVER, HARDENED, Container, Response, ask, container
from tests.support.packages import application_loads
from tests.support.recipes import RecipeProject
from tools.questionnaire import base_image

pytestmark = pytest.mark.slow

# Values that must not be in a report: one in requests, and one of a setting.
PLANTED, SETTING = "planted", "203.0.113.77"
# A route that logs an error, and then fails.
FAIL = '''

@{router}.post("/fail")
def fail() -> None:
    """Fail."""
    value = Settings().forwarded_allow_ips
    log.error("about to fail", value=value)
    raise RuntimeError(len(value))
'''
ROUTERS = {"fastapi": "app", "flask": "routes"}
# Prints each item of the envelopes that it receives, as JSON on one line: its type, and its content.
RECEIVER = """
import gzip, http.server, json
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        _, *lines = gzip.decompress(body).splitlines()
        for head, content in zip(lines[::2], lines[1::2], strict=True):
            print(json.dumps([json.loads(head)["type"], json.loads(content)]), flush=True)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8000), Receiver).serve_forever()
"""


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_reports_are_sent_once_and_before_a_stop(
    framework: str, new_project: Callable[[str, str], RecipeProject], tmp_path: Path
) -> None:
    project = new_project("error-reports", framework)
    project.follow()
    with (project.folder / "src" / "my_service" / "app.py").open("a") as file:
        file.write(FAIL.format(router=ROUTERS[framework]))
    project.check_make("build")
    image = project.production_image()
    with container(image, *HARDENED, "--env=WEB_CONCURRENCY=2") as service:
        expected = fail(service)
        usual = check_stop(service)
    with server("python", "-c", RECEIVER) as receiver, service_with_dsn(image, receiver, tmp_path) as service:
        response = fail(service)
        check_stop(service)
        check_reports(receiver, response)
    assert response_without_time(response) == response_without_time(expected)
    with server(*HANGING_SERVER, "8000") as hanging, service_with_dsn(image, hanging, tmp_path) as service:
        fail(service)
        start = time.monotonic()
        for _ in range(10):
            fail(service)
        assert time.monotonic() - start < 15  # a request that waits for the server would take at least 2 s
        assert check_stop(service) < 2 * usual + 4  # the shutdown timeout is 2 s, and the machine may be busy
    assert not application_loads(image, "sentry_sdk")


@contextmanager
def server(*command: str) -> Iterator[Container]:
    """Run a server for reports."""
    with container(base_image(), "--env=PYTHONUNBUFFERED=1", command=command) as running:
        yield running


@contextmanager
def service_with_dsn(image: str, receiver: Container, folder: Path) -> Iterator[Container]:
    """Run a service with the address of a server as a secret."""
    secret = folder / "sentry_dsn"
    secret.write_text(f"http://key@{receiver.address}:8000/1\n")
    mount = f"--volume={secret}:/run/secrets/sentry_dsn:ro"
    settings = ("--env=WEB_CONCURRENCY=2", f"--env=FORWARDED_ALLOW_IPS={SETTING}")
    with container(image, *HARDENED, "--tmpfs=/tmp", "--user=12345:0", mount, *settings) as service:
        yield service


def fail(service: Container) -> Response:
    """Send a request that fails."""
    service.get("/health")
    headers = {
        "Authorization": PLANTED,
        "Cookie": f"key={PLANTED}",
        "X-Forwarded-For": PLANTED,
        "X-Api-Key": PLANTED,
        "X-Request-ID": "request-1",
    }
    return ask(service.port, f"/fail?key={PLANTED}", headers=headers, method="POST")


def response_without_time(response: Response) -> Response:
    """Return a response without its date."""
    headers = {name: value for name, value in response.headers.items() if name != "date"}
    return Response(response.status, response.text, headers)


def check_stop(service: Container) -> float:
    """Check that a service stops cleanly, and return the seconds that it took."""
    code, seconds = service.stop()
    print(f"stopped after {seconds:.1f} s")
    assert code == 0, service.logs()
    assert "Sentry" not in service.logs()
    return seconds


def check_reports(receiver: Container, response: Response) -> None:
    """Check that a server has received one report, and check its content."""
    assert response.status == 500
    lines = receiver.logs().splitlines()
    assert len(lines) == 1, lines
    kind, report = json.loads(lines[0])
    assert kind == "event"
    check_report(report)
    (handled,) = [one["mechanism"]["handled"] for one in report["exception"]["values"]]
    assert handled is False
    assert PLANTED not in lines[0]
    assert SETTING not in lines[0]


def check_report(report: dict[str, Any]) -> None:
    """Check the fields of a report."""
    (exception,) = report["exception"]["values"]
    assert exception["type"] == "RuntimeError"
    assert {one["module"] for one in exception["stacktrace"]["frames"] if one["in_app"]} >= {"my_service.app"}
    assert report["release"] == "my-service@0.1.0"
    assert report["environment"] == "production"
    assert report["tags"] == {"request_id": "request-1"}
    assert set(report["request"]) == {"method", "url"}
    assert "?" not in report["request"]["url"]
    assert "user" not in report
    assert not report.get("breadcrumbs", {}).get("values")
