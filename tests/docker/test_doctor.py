"""`make doctor` with a real engine."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bare_machine import path_with
from tests.support.commands import ROOT, check_run, run
from tests.support.docker import free_port
from tests.support.doctor import DOCKER, HEALTHY, examine
from tests.support.made import Made
from tests.support.projects import Render


@pytest.mark.parametrize("line", ["PORT={} # mine", "export PORT={}", 'PORT="{}"\r', "PORT = {}"])
def test_doctor_reads_the_port_that_compose_reads(line: str, project: Render, tmp_path: Path) -> None:
    folder, port = project(), free_port()
    (folder / ".env").write_text(f"LOG_LEVEL=info\n{line.format(port)}\n", newline="")
    docker = check_run("sh", "-c", "command -v docker", cwd=ROOT).strip()
    programs = {"docker": DOCKER.format(**HEALTHY | {"config": f'exec {docker} "$@"'})}
    code, lines = examine(folder, path_with(tmp_path, **programs))
    assert f"✓ Port {port} is free" in lines, lines
    assert code == 0


def test_doctor_of_a_project_that_runs(made: Callable[..., Made]) -> None:
    day = made()
    (day.folder / ".env").write_text(f"export PORT={day.port} # mine\n")
    up = check_run("make", "up", cwd=day.folder)  # without PORT in the environment
    assert up.splitlines()[-1] == f"Serving http://localhost:{day.port}"
    result = run("make", "doctor", cwd=day.folder)
    good = [line for line in result.stdout.splitlines() if line.startswith("✓ ")]
    for pattern in (
        "Docker Engine [0-9.]+",
        "Compose [0-9.]+",
        "BuildKit$",
        f"Port {day.port} serves this project$",
        "poetry.lock matches pyproject.toml$",
    ):
        assert any(re.match(f"✓ {pattern}", line) for line in good), result.stdout
    assert "✗" not in result.stdout
    assert result.returncode == 0

    pyproject = day.folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("structlog (>=26.1.0", "structlog (>=26.0.0"))
    result = run("make", "doctor", cwd=day.folder)
    assert result.returncode != 0
    assert "✗ poetry.lock is missing or does not match pyproject.toml: make lock" in result.stdout
