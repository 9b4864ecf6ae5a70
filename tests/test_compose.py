"""The same Makefile with Compose 1.29, and with an engine that goes by another name."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from tests.commands import ROOT, check_run, run
from tests.docker import get
from tests.made import Made

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def compose_1() -> str:
    """Return a Compose 1.29, the last of its line."""
    given = os.environ.get("COMPOSE_1") or shutil.which("docker-compose")
    if given and run(given, "version", "--short", cwd=ROOT).stdout.startswith("1.29"):
        return given
    pytest.skip("no Compose 1.29 is here: COMPOSE_1 may name one")


def test_a_day_with_compose_1(compose_1: str, made: Callable[..., Made]) -> None:
    day = made()
    given = f"COMPOSE={compose_1}"
    assert day.check_make("up", given).splitlines()[-1] == f"Serving http://localhost:{day.port}"
    assert day.check_make("add", given, "PKG=cowsay>=6,<7").splitlines()[-1] == "Added: make up installs it."
    assert day.check_make("up", given).splitlines()[-1] == f"Serving http://localhost:{day.port}"
    assert get(day.port, "/health").status == 200
    check_run("docker", "exec", f"{day.name}_app_1", "python", "-c", "import cowsay", cwd=ROOT)
    tested = day.check_make("test", given)
    assert "1 passed" in day.check_make("test", given, "ARGS=-k 'health_gives and status'")
    assert "CACHED" not in tested, "a quiet build says nothing"
    day.check_make("format", given)
    day.check_make("remove", given, "PKG=cowsay")
    assert "✓ Compose 1.29" in day.make("doctor", given).stdout

    day.check_make("down", given)
    terminal = day.run_in_terminal(given)
    assert get(day.port, "/health").status == 200
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    day.check_make("clean", given)
    assert run("docker", "ps", "--all", "--quiet", f"--filter=name={day.name}", cwd=ROOT).stdout == ""
    assert day.changed_files() == []


def test_an_engine_by_another_name(made: Callable[..., Made], tmp_path: Path) -> None:
    day = made()
    tools = tmp_path / "bin"
    tools.mkdir()
    docker = shutil.which("docker")
    (tools / "podman").write_text(f'#!/bin/sh\nexec {docker} "$@"\n')
    (tools / "docker").write_text("#!/bin/sh\necho 'docker is not to be asked' >&2\nexit 1\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "COMPOSE": "podman compose"}
    assert day.check_make("up", **env).splitlines()[-1] == f"Serving http://localhost:{day.port}"
    assert get(day.port, "/health").status == 200
    assert " passed" in day.check_make("test", **env)
    day.check_make("clean", **env)
