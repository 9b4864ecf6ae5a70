"""Learners of the workshop, one for each framework. The tests of this folder share them: they run in one process."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.commands import commit
from tests.support.docker import PROCESS
from tests.support.lessons import Learner, free_ports, prepared
from tests.support.projects import Render
from tests.support.servers import servers
from tools.questionnaire import versions


@pytest.fixture(scope="session")
def _learners(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Learner]]:
    learners: dict[str, Learner] = {}
    with ExitStack() as stack:
        pins = versions()
        stack.enter_context(servers([f"docker:{pins['docker']}-dind", f"registry:{pins['registry']}"]))

        def get(framework: str) -> Learner:
            if framework not in learners:
                name = f"learner-{framework}-{PROCESS}"
                folder = tmp_path_factory.mktemp("learner") / name
                port = free_ports()
                shutil.copytree(render(framework=framework, app_name=name, port=port, include_workshop=True), folder)
                commit(folder, "start from the template")
                learners[framework] = stack.enter_context(prepared(Learner(folder, name, framework)))
            return learners[framework]

        yield get


@pytest.fixture
def learner_of(_learners: Callable[[str], Learner]) -> Callable[[str], Learner]:
    """Return a function that returns the learner of a framework, whose project is as new."""

    def get(framework: str) -> Learner:
        learner = _learners(framework)
        learner.restore()
        return learner

    return get


@pytest.fixture
def learner(learner_of: Callable[[str], Learner]) -> Learner:
    """Return a learner with FastAPI, whose project is as new."""
    return learner_of("fastapi")
