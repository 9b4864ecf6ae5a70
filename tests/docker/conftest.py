"""Fixtures of the tests that need a Docker engine: images, and projects that run."""

import json
import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.support.commands import ROOT, commit, run
from tests.support.docker import PROCESS, REPOSITORY, Image, check_build, engine_version, free_port
from tests.support.made import Made
from tests.support.projects import Render
from tests.support.template import DEFAULTS
from tests.support.trial import put_on_trial


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    """Skip every test of this folder if no Docker engine responds."""
    if not engine_version():
        pytest.skip("no Docker engine responds: start Docker to run the tests in tests/docker")


@pytest.fixture(scope="session")
def image(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Return a function that builds an image of a rendered project, once for the same arguments, and returns its name.

    With `on_trial=True`, the project has the routes of `tests/support/trial.py`.
    """
    built: dict[str, str] = {}

    def build_once(target: str = "production", on_trial: bool = False, **answers: str | int) -> str:
        key = json.dumps([target, on_trial, answers], sort_keys=True)
        if key not in built:
            folder = render(**answers)
            if on_trial:
                folder = tmp_path_factory.mktemp("trial") / "project"
                shutil.copytree(render(**answers), folder)
                put_on_trial(folder, str(answers["framework"]))
            tag = f"{REPOSITORY}:{len(built)}"
            check_build(folder, tag, f"--target={target}")
            built[key] = tag
        return built[key]

    yield build_once
    left = run("docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}", REPOSITORY, cwd=ROOT).stdout.split()
    run("docker", "image", "rm", "--force", *left, cwd=ROOT)


@pytest.fixture
def made(project: Render, request: pytest.FixtureRequest) -> Iterator[Callable[..., Made]]:
    """Return a function that creates a committed project. Its containers and images are removed when the test ends."""
    projects = []

    def make_project(
        framework: str = "fastapi", server: str = "", on_trial: bool = False, **answers: str | int
    ) -> Made:
        name = f"made-{framework}-{len(request.node.name)}-{PROCESS}"
        folder = project(framework=framework, server=server or DEFAULTS[framework], app_name=name, **answers)
        folder = folder.rename(folder.parent / name)  # Compose names its project like the folder
        if on_trial:
            put_on_trial(folder, framework)
        commit(folder, "start from the template")
        projects.append(Made(folder, name, free_port()))
        return projects[-1]

    yield make_project
    for one in projects:
        one.make("clean")
