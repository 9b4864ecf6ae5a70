"""Fixtures: projects rendered once for each set of answers, and ways to run commands in them."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, settings
from pytest_copie.plugin import Copie
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from scripts import questionnaire
from tests.commands import ROOT, check_run, commit, run
from tests.docker import PROCESS, REPOSITORY, free_port
from tests.made import Made
from tests.trial import put_on_trial

COPIER_YML = questionnaire.read()
QUESTIONS = questionnaire.questions()
CHOICES = questionnaire.choices()
# What a service is made of: each framework with each server.
STACKS = questionnaire.stacks()
# The default server of each framework.
DEFAULTS = dict(reversed(STACKS))
# Each framework once, where framework and server have nothing to do with each other.
PAIRS = [("flask", "granian"), ("fastapi", "uvicorn")]
# Poetry on this machine locks and checks only projects that require the Python that runs it.
HOST_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# How many hooks pass on a new project: all of them but the one for rejected patches, which finds no file.
PASSING_HOOKS = (ROOT / "template" / ".pre-commit-config.yaml.jinja").read_text(encoding="utf-8").count("- id: ") - 1
# The folders of the workshop: one for each technique of the articles, and uv.
TECHNIQUES = [
    "01-naive",
    "02-pinned-and-copied-late",
    "03-dependencies-first",
    "04-wheel",
    "05-builder-app-dev",
    "06-environment-copied",
    "07-cache-mounts",
    "08-two-stages-prebuilt",
    "uv",
]
# How many generated answers are tried: the same ones in each run, or, with --hypothesis-profile=long, others each time.
GENERATED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", GENERATED, max_examples=10, derandomize=True)
settings.register_profile("long", GENERATED, max_examples=2000, derandomize=False)
# Tests import this file once more, when pytest has loaded the profile of its option: only Hypothesis's own give way.
if settings.get_current_profile_name() in {"default", "ci"}:
    settings.load_profile("same")


def slow(*cases: tuple[str | int, ...]) -> list[Any]:
    """Return the cases of a wide matrix that are left to a run of `-m slow`, as parameters of a test."""
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


def in_every_run(chosen: Collection[Any], cases: Iterable[tuple[str | int, ...]]) -> list[Any]:
    """Return the cases of a wide matrix as parameters of a test. Those not chosen are left to a run of `-m slow`."""
    return [case if case in chosen else slow(case)[0] for case in cases]


# The stacks for a test that starts containers: each framework and each server, and the rest in a run of `-m slow`.
CONTAINER_STACKS = in_every_run([stack for stack in STACKS if stack != ("flask", "granian")], STACKS)


class Render(Protocol):
    """Renders a project, or returns the one that was rendered for the same answers: tests must not change it."""

    def __call__(self, **answers: str | int) -> Path:
        """Return the folder of the project."""


Image = Callable[..., str]
Environment = Callable[[str, str], Path]


def check_answers(answers: Mapping[str, str | int]) -> None:
    """Refuse answers to questions that do not exist, which Copier and pytest-copie take without a word.

    Raises:
        KeyError: A name is no question of `copier.yml`.
    """
    if unknown := sorted(set(answers) - set(QUESTIONS)):
        raise KeyError(f"not questions of copier.yml: {', '.join(unknown)}")


@pytest.fixture(scope="session")
def render(copie_session: Copie) -> Render:
    """Return a function that renders the checkout as it stands with the given answers."""
    projects: dict[str, Path] = {}

    def render_once(**answers: str | int) -> Path:
        check_answers(answers)
        key = repr(sorted(answers.items()))
        if key not in projects:
            result = copie_session.copy(extra_answers=answers)
            assert result.exception is None, result.exception
            assert result.project_dir is not None
            projects[key] = result.project_dir
        return projects[key]

    return render_once


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that gives the test a rendered project of its own, which it may change."""

    def copy(**answers: str | int) -> Path:
        destination = tmp_path / "project"
        shutil.copytree(render(**answers), destination, symlinks=True)
        return destination

    return copy


@pytest.fixture(scope="session")
def environment(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return a function that gives the environment of a stack's locked dependencies, all groups of them."""
    environments: dict[tuple[str, str], Path] = {}

    def install(framework: str, server: str) -> Path:
        stack = (framework, server)
        if stack not in environments:
            folder = tmp_path_factory.mktemp(framework)
            project = render(framework=framework, server=server, python_version=HOST_PYTHON)
            requirements = folder / "requirements"
            check_run(sys.executable, "docker/export_lock.py", "--all", requirements, cwd=project)
            check_run("uv", "venv", "--quiet", f"--python={sys.executable}", folder / "venv", cwd=folder)
            python = folder / "venv" / "bin" / "python"
            options = ("--quiet", "--no-deps", "--require-hashes", f"--python={python}")
            check_run("uv", "pip", "install", *options, "-r", requirements / "all.txt", cwd=folder)
            environments[stack] = folder / "venv"
        return environments[stack]

    return install


def in_environment(environment: Path) -> dict[str, str]:
    """Return the variables that put an environment's tools first."""
    return {"PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(environment)}


@pytest.fixture(scope="session")
def image(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Return a function that builds an image of a rendered project, once, and gives its name.

    With `on_trial=True`, the project has the routes of `tests/trial.py`.
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
            check_run("docker", "build", "--progress=plain", f"--tag={tag}", f"--target={target}", ".", cwd=folder)
            built[key] = tag
        return built[key]

    yield build_once
    left = run("docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}", REPOSITORY, cwd=ROOT).stdout.split()
    run("docker", "image", "rm", "--force", *left, cwd=ROOT)


@pytest.fixture
def made(project: Render, request: pytest.FixtureRequest) -> Iterator[Callable[..., Made]]:
    """Return a function that makes a committed project; its containers and images go when the test ends."""
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


def copy_checkout(folder: Path) -> None:
    """Copy the checkout as it stands, without what git ignores, into a folder."""
    listed = check_run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "-z", cwd=ROOT)
    for file in filter(None, listed.split("\0")):
        if (ROOT / file).exists():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, folder / file)


@pytest.fixture
def template_clone(tmp_path: Path) -> Path:
    """Return a repository of its own that holds the checkout as it stands, committed."""
    clone = tmp_path / "template"
    copy_checkout(clone)
    commit(clone, "the template")
    return clone


@pytest.fixture
def released(template_clone: Path) -> Path:
    """Return a template with one release."""
    commit(template_clone, "first release", tag="1.0.0")
    return template_clone


def docker_runs() -> bool:
    """Return whether a Docker engine answers."""
    return shutil.which("docker") is not None and run("docker", "info", cwd=ROOT).returncode == 0


# Files that measure no time: their Docker tests may run beside those of the others.
BESIDE = {
    f"test_{name}.py" for name in ("ci", "compose", "debug", "dependencies", "devcontainer", "hooks", "ownership")
}
BESIDE |= {f"test_{name}.py" for name in ("hardening", "proxy", "records", "served", "start", "supported")}


class DockerTestsTogether(LoadScopeScheduling):
    """Runs the files with a Docker test in one process, but for those that may run beside it, and the rest in any.

    Source: https://pytest-xdist.readthedocs.io/en/stable/distribution.html, where groups do this; they need marks that
    pytest 9.2 and xdist 3.8 cannot exchange.
    """

    def _split_scope(self, nodeid: str) -> str:
        """Return the name of what a test must share a process with."""
        file = ROOT / nodeid.partition("::")[0]
        if "mark.docker" not in file.read_text(encoding="utf-8"):
            return nodeid
        return "docker, beside" if file.name in BESIDE else "docker"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> DockerTestsTogether:
    """Return how pytest-xdist hands out the tests."""
    return DockerTestsTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the Docker tests where no engine answers, unless REQUIRE_DOCKER says that one must."""
    marked = [item for item in items if item.get_closest_marker("docker")]
    if marked and not os.environ.get("REQUIRE_DOCKER") and not docker_runs():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no Docker engine answers; REQUIRE_DOCKER=1 makes this a failure"))


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests apart from the caller's settings, and Poetry from environments of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "PORT",
            "COMPOSE",
            "LOG_LEVEL",
            "LOG_FORMAT",
            "MAKEFLAGS",
            "MFLAGS",
            "MAKELEVEL",
            "ARGS",
            "GIVEN_ANSWERS",
            "FORWARDED_ALLOW_IPS",
            "GRACEFUL_TIMEOUT",
            "IMAGE",
            "MAX_REQUESTS",
            "WEB_CONCURRENCY",
            "POETRY_PLUGINS",
            "REPLICAS",
        ):
            patch.delenv(name, raising=False)
        patch.setenv("POETRY_VIRTUALENVS_CREATE", "false")
        patch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path_factory.mktemp("git") / "config"))
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.com")
        yield
