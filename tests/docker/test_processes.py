"""Other processes of the same image: a migration, a scheduled job and a worker, as docs/deploy.md describes them."""

import re
import time
from collections.abc import Callable

import pytest

from tests.support.commands import check_run, run
from tests.support.docker import inspect
from tests.support.files import edit
from tests.support.made import Made

WORKER = """
import signal, sys, time

signal.signal(signal.SIGTERM, lambda *_: sys.exit("worker stopped"))
while True:
    print("worker runs", flush=True)
    time.sleep(0.2)
"""
JOB = "import pathlib, sys\nsys.exit(0 if pathlib.Path('migrations/first.sql').read_text() == 'select 1' else 7)\n"


def blocks(day: Made, language: str) -> list[str]:
    """Return the code blocks of one language in the section "Other processes" of the project's documentation."""
    text = (day.folder / "docs" / "deploy.md").read_text()
    section = text.partition("## Other processes")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.mark.slow
def test_worker_migration_and_job_run_from_the_image(made: Callable[..., Made]) -> None:
    day = made()
    (day.package / "worker.py").write_text(WORKER)
    (day.package / "job.py").write_text(JOB)
    (day.folder / "alembic.ini").write_text("[alembic]\n")
    (day.folder / "migrations").mkdir()
    (day.folder / "migrations" / "first.sql").write_text("select 1")
    (copies,) = blocks(day, "dockerfile")
    edit(day.folder / "Dockerfile", ("COPY --from=package /opt/venv", f"{copies}COPY --from=package /opt/venv"))
    (service,) = blocks(day, "yaml")
    compose = day.folder / "docker-compose.yml"
    compose.write_text(f"{compose.read_text()}\n{service}")
    day.check_make("build")
    command = ("docker", "compose", "run", "--rm", "-T")
    assert blocks(day, "sh")[0].split()[:4] == [*command[:3], "--rm"]

    job = ("python", "-m", f"{day.package.name}.job")
    for container in ("production", "app"):
        assert run(*command, container, *job, cwd=day.folder).returncode == 0
    assert "[alembic]" in check_run(*command, "production", "cat", "alembic.ini", cwd=day.folder)
    (day.package / "job.py").write_text("import sys\nsys.exit(7)\n")
    assert run(*command, "app", *job, cwd=day.folder).returncode == 7, "the exit code is that of the job"

    check_run("docker", "compose", "up", "--detach", "worker", cwd=day.folder)
    time.sleep(2)
    state = inspect("container", day.container("worker"))["State"]
    assert (state["Running"], "Health" in state) == (True, False)
    start = time.monotonic()
    check_run("docker", "compose", "stop", "worker", cwd=day.folder)
    assert time.monotonic() - start < 5
    log = check_run("docker", "logs", day.container("worker"), cwd=day.folder)
    assert "worker runs" in log
    assert log.endswith("worker stopped\n"), "the signal reaches the process"
