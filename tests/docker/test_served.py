"""An updated project is locked, built and served."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.commands import check_run, commit
from tests.support.docker import HARDENED, PLUGINS, REPOSITORY, Container, check_build, container
from tests.support.files import replace
from tests.support.updates import NEW_LOCK, copy, edit_everything, update


@contextmanager
def locked_and_served(project: Path) -> Iterator[Container]:
    """Lock an updated project, build it, and yield the running production container."""
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
