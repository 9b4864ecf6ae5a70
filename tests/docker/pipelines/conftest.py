"""The machine that runs the pipelines. The tests of this folder share it: they run in one process."""

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.support.projects import Render
from tests.support.runner import Runner, start_runner


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Return a machine that runs pipelines."""
    with start_runner(tmp_path_factory.mktemp("runner")) as runner:
        yield runner


@pytest.fixture(scope="session")
def project_on_runner(runner: Runner, render: Render, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return a function that gives the machine a project, and returns its folder there."""

    def give(**answers: str) -> str:
        folder = tmp_path_factory.mktemp("given") / answers["app_name"]
        shutil.copytree(render(**answers), folder)
        return runner.receive(folder)

    return give


@pytest.fixture(scope="session")
def hub(project_on_runner: Callable[..., str]) -> str:
    """Return the folder of a project on GitHub."""
    return project_on_runner(app_name="hub", ci="github")
