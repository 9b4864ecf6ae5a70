"""The page about uploads in a container with little memory: large files, files that are refused, and lost clients."""

import socket
import time
from collections.abc import Callable, Mapping

import pytest

from tests.support.commands import check_run, run
from tests.support.docker import inspect
from tests.support.recipes import RecipeProject

SIZE, LIMIT = 300_000_000, 300_000_001
# The production service with an arbitrary user, less memory than a file needs, and a limit for the size of a file.
LIMITS = f"""
services:
  production:
    user: "12345:0"
    mem_limit: 150m
    memswap_limit: 150m
    environment:
      UPLOAD_LIMIT: {LIMIT}
      WEB_CONCURRENCY: 1
"""
FILES = "docker-compose.yml:docker-compose.override.yml:limits.yml"
pytestmark = pytest.mark.slow


class Service:
    """The production service of a project that followed the page."""

    def __init__(self, project: RecipeProject) -> None:
        """Start the service of a project in place of its development server."""
        self.project = project
        project.follow()
        project.check_make("build")
        project.run("docker", "compose", "down", "--volumes")
        (project.folder / "limits.yml").write_text(LIMITS)
        self.run("up", "--detach", "--wait", "production")

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables for Compose."""
        return {**self.project.environment(), "COMPOSE_FILE": FILES}

    def run(self, *command: str) -> str:
        """Run a command of Compose that must succeed, and return its output."""
        return check_run("docker", "compose", *command, cwd=self.project.folder, **self.environment)

    def upload(self, size: int, is_declared: bool) -> str:
        """Upload zeros, with chunked encoding unless the client declares the size, and return the status."""
        with (self.project.folder / "zeros").open("wb") as file:
            file.truncate(size)
        curl = "curl --silent --output /dev/null --write-out %{http_code} --request POST --upload-file"
        source = "zeros" if is_declared else "- <zeros"
        command = f"{curl} {source} http://127.0.0.1:{self.project.port}/files"
        return run("bash", "-c", command, cwd=self.project.folder).stdout

    def files(self) -> list[list[str]]:
        """Return the owner, the size and the name of each file on the volume."""
        lines = self.run("exec", "-T", "production", "ls", "-ln", "/data").splitlines()[1:]
        return [[fields[2], fields[4], fields[-1]] for fields in map(str.split, lines)]

    def wait_for_files(self, count: int) -> None:
        """Wait until the volume has a number of files."""
        deadline = time.monotonic() + 20
        while len(self.files()) != count:
            assert time.monotonic() < deadline, self.files()
            time.sleep(0.2)


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_uploads_need_little_memory_and_leave_nothing_behind(
    framework: str, new_project: Callable[[str, str], RecipeProject]
) -> None:
    service = Service(new_project("uploads", framework))
    for is_declared in (False, True):
        assert service.upload(SIZE, is_declared) == "201", service.run("logs", "production")
    assert [file[:2] for file in service.files()] == [["12345", str(SIZE)]] * 2

    for is_declared in (False, True):
        assert service.upload(LIMIT + 1, is_declared) == "413"
    service.wait_for_files(2)

    for header in ("Content-Length: 9000000", "Transfer-Encoding: chunked"):
        head = f"POST /files HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n"
        chunk = "895440\r\n" if "chunked" in header else ""  # 9000000 in hexadecimal
        with socket.create_connection(("127.0.0.1", service.project.port)) as client:
            client.sendall(f"{head}{chunk}".encode() + bytes(5_000_000))
            service.wait_for_files(3)
        service.wait_for_files(2)

    log = service.run("logs", "--no-log-prefix", "production")
    assert [log.count(f"status={status}") for status in (201, 413, 400)] == [2, 2, 2], log
    assert "Traceback" not in log
    container = service.project.container("production")
    assert not inspect("container", container)["State"]["OOMKilled"]

    fill = "import pathlib; pathlib.Path('/tmp/big').open('wb').writelines(bytes(2**20) for _ in range(200))"
    filled = run("docker", "exec", container, "python", "-c", fill, cwd=service.project.folder)
    assert filled.returncode == 137, "a file of this size does not fit into /tmp"
