"""The Makefile with Compose 1.29, the last release of Compose v1: `up`, `test`, `lint` and `down` work."""

import os
import re
import shutil
from collections.abc import Callable

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import get
from tests.support.made import Made
from tests.support.template import PASSING_HOOKS


@pytest.fixture(scope="module")
def compose_1() -> str:
    """Return the path of Compose 1.29."""
    given = os.environ.get("COMPOSE_1") or shutil.which("docker-compose")
    if given and run(given, "version", "--short", cwd=ROOT).stdout.startswith("1.29"):
        return given
    pytest.skip("there is no Compose 1.29: set COMPOSE_1 to its path")


def test_a_day_with_compose_1(compose_1: str, made: Callable[..., Made]) -> None:
    day = made()
    given = f"COMPOSE={compose_1}"
    assert day.check_make("up", given).splitlines()[-1] == f"Serving http://localhost:{day.port}"
    assert get(day.port, "/health").status == 200

    # A new dependency: the image is rebuilt, and the container replaced.
    day.check_make("add", "PKG=cowsay>=6,<7")
    assert day.check_make("up", given).splitlines()[-1] == f"Serving http://localhost:{day.port}"
    assert get(day.port, "/health").status == 200
    check_run("docker", "exec", f"{day.name}_app_1", "python", "-c", "import cowsay", cwd=ROOT)

    assert re.search(r"\b[12]\d passed", day.check_make("test", given))
    assert "1 passed" in day.check_make("test", given, "ARGS=-k 'index_names and service'")
    assert day.check_make("lint", given).count("Passed") == PASSING_HOOKS
    app = day.package / "app.py"
    text = app.read_text()
    app.write_text(text + "undefined\n")
    assert "undefined" in day.fail_make("lint", given)
    app.write_text(text)
    assert "- Compose 1.29" in day.make("doctor", given).stdout

    day.check_make("down", given)
    assert run("docker", "ps", "--all", "--quiet", f"--filter=name={day.name}", cwd=ROOT).stdout == ""
    assert run("docker", "network", "ls", "--quiet", f"--filter=name={day.name}", cwd=ROOT).stdout == ""
    assert day.changed_files() == ["poetry.lock", "pyproject.toml"]
    day.check_make("clean", given)
