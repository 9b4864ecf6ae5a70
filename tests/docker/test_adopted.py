"""Projects with different layouts move in. After the printed steps, each serves its own route in both images."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.adopters import ADOPTERS, PEER, advised, follow, move_in, new_with_poetry, printed_steps
from tests.support.commands import check_run, commit
from tests.support.docker import (
    HARDENED,
    PLUGINS,
    PROCESS,
    REPOSITORY,
    Container,
    ask,
    check_build,
    container,
    free_port,
)
from tests.support.updates import update
from tools.questionnaire import base_image

IN_EVERY_RUN = {"own Compose file, variables"}
SHAPES = [shape if shape in IN_EVERY_RUN else pytest.param(shape, marks=pytest.mark.slow) for shape in ADOPTERS]


@pytest.fixture
def empty_folder(tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder. The containers and images of the project in it are removed when the test ends."""
    folder = tmp_path / f"adopter-{PROCESS}"
    folder.mkdir()
    yield folder
    if (folder / "Makefile").exists():
        check_run("make", "clean", cwd=folder)


@pytest.mark.parametrize("shape", SHAPES)
def test_project_that_moved_in_serves_its_own_route(shape: str, released: Path, empty_folder: Path) -> None:
    project = empty_folder
    check_run("docker", "tag", base_image(), PEER, cwd=project)
    adopter = ADOPTERS[shape]
    adopter.write(project)
    said = move_in(project, released)
    assert f"It serves {adopter.app_import}." in said
    port = free_port()
    environment = {"PORT": str(port), "POETRY_PLUGINS": PLUGINS}
    steps = printed_steps(said)
    for step in steps:
        follow(step, project, adopter.values, **environment)
    assert adopter.text in ask(port, "/hello").text
    check_run("make", "test", cwd=project, **environment)
    check_run("make", "lint", cwd=project, **environment)
    check_run("make", "build", cwd=project, **environment)
    options = [f"--env={name}={value.strip(chr(34))}" for name, value in adopter.values.items()]
    with container("my-shop", *HARDENED, *options) as service:
        assert adopter.text in service.get("/hello").text
        check_log(service)
    commit(project, "moved in")
    assert "Left from moving in" not in update(project)


def check_log(service: Container) -> None:
    """Check that a request that was handled is in the log."""
    assert re.search(r"GET /hello", service.logs()), service.logs()


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_project_that_moved_in_is_served_and_tested(framework: str, released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, framework)
    said = move_in(project, released)
    variables = {"POETRY_PLUGINS": PLUGINS}
    for packages, group in advised(said):
        options = [f"GROUP={group}"] if group else []
        check_run("make", "add", f"PKG={packages}", *options, cwd=project, **variables)
    check_build(project, f"{REPOSITORY}:moved-in")
    with container(f"{REPOSITORY}:moved-in") as service:
        assert service.get("/health").json()["status"] == "ok"
        assert service.execute("python", "-c", "import my_shop.prices as p; print(p.price())").strip() == "42"
    output = check_run("make", "test", cwd=project, **variables)
    assert "1 passed" in output
    check_run("make", "clean", cwd=project, **variables)
