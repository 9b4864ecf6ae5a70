"""The schedules of the page about a scheduled job, and a job that is stopped."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import check_run, run
from tests.support.docker import build_server, inspect
from tests.support.files import replace
from tests.support.recipes import RecipeProject, read
from tests.support.servers import INSTALL

VALIDATE = ("kubernetes-validate", "--strict")
NAME = "my-service-cleanup"
pytestmark = pytest.mark.slow


@pytest.fixture
def schedules(tmp_path: Path) -> Path:
    """Return a folder with the schedules of the page."""
    for block in read("scheduled-job"):
        if block.file.startswith("deploy/"):
            (tmp_path / Path(block.file).name).write_text(block.text)
    return tmp_path


def test_cron_job_is_valid(schedules: Path) -> None:
    manifest = schedules / "cleanup.yaml"
    check_run(*VALIDATE, manifest, cwd=schedules)
    replace(manifest, "concurrencyPolicy:", "concurrency:")
    assert run(*VALIDATE, manifest, cwd=schedules).returncode != 0


def test_systemd_units_are_valid(schedules: Path) -> None:
    image = build_server(
        schedules, "systemd", f"{INSTALL}systemd\nRUN touch /usr/bin/docker && chmod +x /usr/bin/docker\n"
    )
    units = [f"/units/{NAME}.{kind}" for kind in ("service", "timer")]
    systemd = ("docker", "run", "--rm", f"--volume={schedules}:/units:ro", image)
    docker_service = "/etc/systemd/system/docker.service"
    verify = (
        f"printf '[Service]\\nExecStart=/bin/true\\n' >{docker_service}; mkdir /srv/my-service; systemd-analyze verify"
    )
    output = check_run(*systemd, "sh", "-c", f"{verify} {' '.join(units)}", cwd=schedules)
    assert output == "", "systemd warns"
    timer = (schedules / f"{NAME}.timer").read_text()
    (times,) = [line.partition("=")[2] for line in timer.splitlines() if line.startswith("OnCalendar=")]
    assert "03:00:00" in check_run(*systemd, "systemd-analyze", "calendar", times, cwd=schedules)
    replace(schedules / f"{NAME}.timer", "OnCalendar=*", "OnCalendar=never")
    assert run(*systemd, "sh", "-c", f"{verify} {' '.join(units)}", cwd=schedules).stdout != ""


def test_job_that_systemd_stops_ends_its_container(new_project: Callable[[str, str], RecipeProject]) -> None:
    project = new_project("scheduled-job", "fastapi")
    project.follow()
    module = project.folder / "src" / "my_service" / "cleanup.py"
    replace(module, "    oldest = time", "    Path('/tmp/started').touch()\n    time.sleep(60)\n    oldest = time")
    project.check_make("build")
    (unit,) = [block.text for block in read("scheduled-job") if block.file.endswith(".service")]
    start, after = [shlex.split(line.partition("=")[2]) for line in unit.splitlines() if line.startswith("Exec")]
    variables = os.environ | project.environment()
    job = subprocess.Popen(start, cwd=project.folder, env=variables, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while run("docker", "exec", NAME, "ls", "/tmp/started", cwd=project.folder).returncode != 0:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        container = inspect("container", NAME)
        assert container["HostConfig"]["ReadonlyRootfs"]
        assert "Health" not in container["State"]
        os.killpg(job.pid, signal.SIGTERM)  # systemd sends it to every process of the unit
        assert job.wait(timeout=20) != 0
        run(after[0].removeprefix("-"), *after[1:], cwd=project.folder)
        assert run("docker", "container", "inspect", NAME, cwd=project.folder).returncode != 0, "it is removed"
    finally:
        job.kill()
        run("docker", "rm", "--force", NAME, cwd=project.folder)
