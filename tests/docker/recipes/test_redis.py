"""The worker of the page about Redis: how it stops, its health check, and edits of its code."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import Container, ask
from tests.support.files import replace
from tests.support.recipes import RecipeProject

CHECK = ("python", "-m", "my_service.worker", "--check")
pytestmark = pytest.mark.slow


@dataclass
class Jobs:
    """The jobs of a project that runs.

    Attributes:
        project: The project.
    """

    project: RecipeProject

    def sleep(self, *seconds: int) -> list[str]:
        """Put a job for each of these times into the queue, and return their IDs."""
        enqueue = f"print(*[queue.enqueue('time.sleep', seconds).id for seconds in {seconds}])"
        code = f"from my_service.redis_client import queue; {enqueue}"
        output = self.project.run("docker", "compose", "exec", "-T", "app", "python", "-c", code)
        return output.splitlines()[-1].split()

    def count_primes(self) -> object:
        """Return the result of a job that counts the primes up to 10."""
        response = ask(self.project.port, "/primes/10", method="POST")
        assert response.status == 202
        job = response.json()["id"]
        self.wait(job, "finished")
        return ask(self.project.port, f"/jobs/{job}").json()["result"]

    def status(self, job: str) -> object:
        """Return the status of a job."""
        return ask(self.project.port, f"/jobs/{job}").json()["status"]

    def wait(self, job: str, status: str, seconds: float = 30) -> None:
        """Wait until a job has a status."""
        deadline = time.monotonic() + seconds
        while self.status(job) != status:
            assert time.monotonic() < deadline, f"the job is {self.status(job)} instead of {status}"
            time.sleep(0.2)


@contextmanager
def worker(project: RecipeProject) -> Iterator[Container]:
    """Run a production worker with an arbitrary user ID, and yield its container."""
    output = project.run("docker", "compose", "run", "--detach", "--user=12345:0", "worker")
    container = Container(output.split()[-1], 0)
    try:
        yield container
    finally:
        print(container.logs())  # shown if the test fails
        run("docker", "rm", "--force", container.id, cwd=ROOT)


@pytest.fixture
def project(new_project: Callable[[str, str], RecipeProject]) -> RecipeProject:
    """Return a project that followed the page and runs."""
    project = new_project("redis", "fastapi")
    project.follow()
    return project


def test_worker_stops_and_reports_its_health(project: RecipeProject) -> None:
    jobs = Jobs(project)
    project.check_make("images")
    assert "passed" in project.check_make("smoke"), "the tests of CI have Redis"
    project.run("docker", "compose", "stop", "dev-worker")

    with worker(project) as first:
        assert first.health(seconds=60) == "healthy"
        current, queued = jobs.sleep(15, 1)
        jobs.wait(current, "started")
        code, seconds = first.stop()
        assert (code, jobs.status(current), jobs.status(queued)) == (0, "finished", "queued"), first.logs()
        assert 4 < seconds < 25
    with worker(project) as second:
        jobs.wait(queued, "finished")
        assert second.stop()[1] < 5, "an idle worker stops at once"

    with worker(project) as killed:
        (lost,) = jobs.sleep(20)
        jobs.wait(lost, "started")
        check_run("docker", "kill", killed.id, cwd=ROOT)
    start = time.monotonic()
    with worker(project) as hung:
        assert hung.health(seconds=60) == "healthy"
        (done,) = jobs.sleep(0)
        jobs.wait(done, "finished")
        check_run("docker", "kill", "--signal=STOP", hung.id, cwd=ROOT)
        assert hung.health(unlike="healthy", seconds=200) == "unhealthy"

    assert time.monotonic() - start > 80
    with worker(project) as other:
        jobs.wait(lost, "failed", seconds=60)
        project.run("docker", "compose", "stop", "redis")
        assert run("docker", "exec", other.id, *CHECK, cwd=ROOT).returncode == 1
        project.run("docker", "compose", "up", "--detach", "--wait", "redis")
        (later,) = jobs.sleep(0)
        jobs.wait(later, "finished", seconds=90)
        assert run("docker", "exec", other.id, *CHECK, cwd=ROOT).returncode == 0


def test_job_takes_no_longer_than_its_timeout(project: RecipeProject) -> None:
    jobs = Jobs(project)
    project.run("docker", "compose", "stop", "dev-worker")
    project.check_make("build")
    with worker(project) as one:
        (endless,) = jobs.sleep(600)
        jobs.wait(endless, "started")
        code, seconds = one.stop()
        assert (code, jobs.status(endless)) == (0, "failed"), one.logs()
        assert seconds < 30, "the stop_grace_period of Compose"


def test_development_worker_runs_the_code_that_was_saved_last(project: RecipeProject) -> None:
    jobs = Jobs(project)
    module = project.folder / "src" / "my_service" / "jobs.py"
    assert jobs.count_primes() == 4
    replace(module, "    return count\n", "    return -count\n")
    assert jobs.count_primes() == -4
    replace(module, "    return -count\n", "    return 10 * count\n")
    assert jobs.count_primes() == 40
    log = project.run("docker", "compose", "logs", "--no-log-prefix", "dev-worker")
    assert len(re.findall("started with PID", log)) == 1, "the worker did not restart"
