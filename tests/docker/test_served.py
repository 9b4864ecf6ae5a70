"""After an update or a move, the project is built and served, once the printed steps are followed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.adopters import advised, move_in, new_with_poetry
from tests.support.commands import check_run, commit
from tests.support.docker import HARDENED, PLUGINS, REPOSITORY, Container, check_build, container
from tests.support.files import replace
from tests.support.updates import NEW_LOCK, copy, edit_everything, update


@contextmanager
def locked_and_served(project: Path) -> Iterator[Container]:
    """Lock an updated project and build it, and give the running production container."""
    check_run("make", "lock", cwd=project, POETRY_PLUGINS=PLUGINS)
    check_build(project, f"{REPOSITORY}:updated")
    with container(f"{REPOSITORY}:updated", *HARDENED) as service:
        yield service
    check_run("make", "clean", cwd=project)


@pytest.mark.slow
def test_update_to_the_other_server_is_served_once_it_is_locked(released: Path, tmp_path: Path) -> None:
    project = copy(released, "1.0.0", tmp_path / "project")
    edit_everything(project)
    replace(project / "Dockerfile", ' RUNTIME_PACKAGES="libpq5"', ' RUNTIME_PACKAGES=""')
    commit(project, "our own work")
    assert NEW_LOCK in update(project, server="granian")
    with locked_and_served(project) as service:
        assert service.get("/health").json() == {"status": "ok", "version": "3.2.1"}
        assert "granian" in service.execute("cat", "/proc/1/cmdline")


@pytest.mark.slow
def test_update_to_another_python_is_served_once_it_is_locked(released: Path, tmp_path: Path) -> None:
    project = copy(released, "1.0.0", tmp_path / "project")
    commit(project, "start from the template")
    assert NEW_LOCK in update(project, python_version="3.13")
    with locked_and_served(project) as service:
        assert service.get("/health").json()["status"] == "ok"
        assert service.execute("python", "--version").startswith("Python 3.13.")


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
