"""Metrics: the sum of all workers in each scrape, also after a worker or the container was replaced."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import HARDENED, Container, ask, build_server, container
from tests.support.recipes import FOLDER, RecipeProject, read
from tests.support.servers import INSTALL, images

pytestmark = pytest.mark.slow

SCRAPES = 6  # enough for both workers to respond
(PROMETHEUS,) = images((FOLDER / "metrics.md").read_text(encoding="utf-8"))
NGINX = """
events {}
http { server { listen 80; location / { proxy_pass http://service:8000; } %s } }
"""


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_metrics_are_the_sum_of_all_workers(
    framework: str, new_project: Callable[[str, str], RecipeProject], tmp_path: Path
) -> None:
    project = new_project("metrics", framework)
    project.follow()
    project.run("docker", "compose", "--profile=production", "down", "--volumes")
    image = project.production_image()
    with container(image, *HARDENED, "--tmpfs=/tmp", "--user=12345:0", "--env=WEB_CONCURRENCY=2") as service:
        check_workers(service)
        check_format(service)
        check_proxy(service, tmp_path)
        check_restart(service)
    with container(image, "--env=WEB_CONCURRENCY=2") as service:  # without a tmpfs
        send(service, 3)
        check_restart(service)


def check_workers(service: Container) -> None:
    """Check the sum before and after a worker is killed."""
    sent = send_until_busy(service, 2)
    assert scrapes(service) == {sent}
    killed = min(service.workers())
    service.execute("python", "-c", f"import os; os.kill({killed}, 9)")
    sent += send_until_busy(service, 3)
    assert killed not in service.workers()
    assert scrapes(service) == {sent}
    assert "/metrics" not in service.logs()


def send_until_busy(service: Container, workers: int) -> int:
    """Send requests until this number of workers, with those that were killed, have handled some. Return the number."""
    for count in range(20, 2000, 20):
        send(service, 20)
        files = service.execute("grep", "-l", '"route": "/"', "-r", "/tmp/metrics").splitlines()
        if len(files) == workers:
            return count
    raise AssertionError(f"not {workers} workers: {files}\n{service.logs()}")


def check_format(service: Container) -> None:
    """Check the format of the metrics with the linter of Prometheus."""
    text = service.get("/metrics").text
    command = ("docker", "run", "--rm", "--entrypoint=sh", f"--env=TEXT={text}", PROMETHEUS)
    result = run(*command, "-c", 'echo "$TEXT" | promtool check metrics', cwd=ROOT)
    assert result.returncode == 0, result.stdout


def check_proxy(service: Container, folder: Path) -> None:
    """Check that clients of a proxy cannot read the metrics, however they write the path."""
    (location,) = [block.text for block in read("metrics") if block.language == "nginx"]
    (folder / "nginx.conf").write_text(NGINX % location)
    dockerfile = f'{INSTALL}nginx-light\nCOPY nginx.conf /etc/nginx/\nCMD ["nginx", "-g", "daemon off;"]\n'
    image = build_server(folder, "metrics-proxy", dockerfile)
    with container(image, f"--add-host=service:{service.address}", port=80) as proxy:
        assert proxy.get("/").status == 200
        for path in ("/metrics", "//metrics", "/%6Detrics", "/x/../metrics", "/metrics?x", "/metrics#x"):
            assert ask(proxy.port, path).status == 404, path
        assert "http_request" not in ask(proxy.port, "/metrics/").text
    check_run("docker", "image", "rm", image, cwd=ROOT)


def check_restart(service: Container) -> None:
    """Check that the numbers start at 0 when a container starts again."""
    assert scrapes(service) != {0}
    check_run("docker", "restart", "--time=30", service.id, cwd=ROOT)
    service.port = int(check_run("docker", "port", service.id, "8000", cwd=ROOT).rpartition(":")[2])
    assert scrapes(service) == {0}
    send(service, 5)
    assert scrapes(service) == {5}


def send(service: Container, count: int) -> None:
    """Send requests, each on a new connection."""
    for _ in range(count):
        assert service.get("/").status == 200


def scrapes(service: Container) -> set[int]:
    """Return the numbers of requests to `/` that some scrapes have."""
    texts = [service.get("/metrics").text for _ in range(SCRAPES)]
    found = [re.search(r'_count\{method="GET",route="/",status="200"\} (\d+)', text) for text in texts]
    return {int(match[1]) if match else 0 for match in found}
