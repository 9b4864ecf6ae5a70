"""The checks of the workshop without Docker: what they show, their messages, and how they read the logs of builds."""

import ast
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.bare_machine import path_with
from tests.support.commands import check_run, commit, fail_run, run
from tests.support.lessons import LESSONS
from tests.support.projects import Render

# Docker with Compose, whose engine does not respond.
DOCKER = """#!/bin/sh
case "$*" in
    "compose version"*) echo 2.40.3 ;;
    *) echo "Cannot connect to the Docker daemon. Is the docker daemon running?" >&2; exit 1 ;;
esac
"""
PYTHON = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
RESULT = {"solved": True, "start": {"image, MB": 500.0}, "yours": {"image, MB": 200.0}}


@pytest.fixture
def workshop(project: Render) -> Path:
    """Return the folder of the workshop in a committed project."""
    folder = project(include_workshop=True)
    commit(folder, "start from the template")
    return folder / "workshop"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return a PATH with Python, and with a Docker whose engine does not respond."""
    return path_with(tmp_path, docker=DOCKER, python3=PYTHON)


def test_lessons_and_progress_are_shown(workshop: Path, path: str) -> None:
    names = sorted(folder.name for folder in workshop.glob("[0-9]*"))
    progress = {names[0]: RESULT, names[1]: RESULT | {"solved": False}}
    (workshop / ".progress.json").write_text(json.dumps(progress))
    shown = check_run("make", "workshop", cwd=workshop.parent, PATH=path).splitlines()
    lines = shown[: len(LESSONS)]
    assert [line[0] for line in lines] == ["✓", "…", *" " * (len(LESSONS) - 2)]
    assert [line[2:4] for line in lines] == LESSONS
    assert [line.split()[-1] for line in lines] == [f"workshop/{name}/README.md" for name in names]


DAMAGED = [
    *("", "{", "[]", "3"),
    *(
        '{"00-set-up": 1}',
        '{"00-set-up": {"solved": true}}',
        '{"00-set-up": {"solved": 1, "start": null, "yours": {}}}',
    ),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_progress_counts_as_none(content: str, workshop: Path, path: str) -> None:
    (workshop / ".progress.json").write_text(content)
    shown = check_run("make", "workshop", cwd=workshop.parent, PATH=path)
    assert {line[0] for line in shown.splitlines()[: len(LESSONS)]} == {" "}


UNKNOWN = ["13", "four", "'", '"', "$$(touch harm)", "`touch harm`", "04; touch harm", "../04"]


@pytest.mark.parametrize("lesson", UNKNOWN)
def test_unknown_lesson_is_one_line(lesson: str, workshop: Path, path: str) -> None:
    output = fail_run("make", "workshop", f"LESSON={lesson}", cwd=workshop.parent, PATH=path)
    given = lesson.replace("$$", "$")
    assert output.splitlines()[0] == f"There is no lesson {given}: `make workshop` shows the lessons."
    assert not list(workshop.parent.rglob("harm"))
    assert check_run("git", "status", "--porcelain", cwd=workshop) == ""


@pytest.mark.parametrize("lesson", ["4", "04", "04-dependencies-first"])
def test_engine_that_does_not_respond_is_one_line(lesson: str, workshop: Path, path: str) -> None:
    output = fail_run("make", "workshop", f"LESSON={lesson}", cwd=workshop.parent, PATH=path)
    lines = [line for line in output.splitlines() if not line.startswith(("make", "Fetching"))]
    (line,) = lines
    assert "Is the docker daemon running?" in line
    assert check_run("git", "status", "--porcelain", cwd=workshop) == ""


def test_missing_docker_is_one_line(workshop: Path, tmp_path: Path) -> None:
    output = fail_run("python3", "workshop/check", "04", cwd=workshop.parent, PATH=path_with(tmp_path, python3=PYTHON))
    assert output == "Docker is missing: https://docs.docker.com/get-docker/\n"


def test_old_python_is_one_line(workshop: Path) -> None:
    main = workshop / "check" / "__main__.py"
    ast.parse(main.read_text(), feature_version=(3, 8))
    old = f"import runpy, sys; sys.version_info = (3, 8); runpy.run_path({str(main)!r}, run_name='__main__')"
    output = fail_run(sys.executable, "-c", old, cwd=workshop.parent)
    assert output == "The workshop needs Python 3.11 or newer on this machine: https://www.python.org/downloads/\n"


def test_changed_service_is_one_line(workshop: Path) -> None:
    app = workshop.parent / "src" / "my_service" / "app.py"
    app.unlink()
    code = "import sys; sys.path.insert(0, 'workshop/check'); import copies; copies.Copy(copies.Path('copy'))"
    output = fail_run(sys.executable, "-c", code, cwd=workshop.parent)
    assert re.search(r"EngineError: The workshop needs the service of a new project\b.*app\.py", output)


# --- modules of the checks -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def module(render: Render) -> Iterator[Callable[[str], ModuleType]]:
    """Return a function that imports a module of the checks of a project."""
    folder = render(include_workshop=True) / "workshop" / "check"
    names = {file.stem for file in folder.glob("*.py")}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(sys, "dont_write_bytecode", True)
        yield importlib.import_module
        for name in names & sys.modules.keys():
            del sys.modules[name]


def build(module: Callable[[str], ModuleType], log: str) -> Any:
    """Return a failed build with a log."""
    return module("engine").Build(succeeded=False, seconds=1, log=log)


# Logs of BuildKit, shortened, and the line that helps.
ERRORS = {
    "program failed": (
        """
#6 [2/2] RUN pip install poetri
#6 7.296 Looking in indexes: https://example.com/simple
#6 7.531 ERROR: Could not find a version that satisfies the requirement poetri (from versions: none)
#6 7.562 ERROR: No matching distribution found for poetri
#6 ERROR: process "/bin/sh -c pip install poetri" did not complete successfully: exit code: 1
------
 > [2/2] RUN pip install poetri:
7.562 ERROR: No matching distribution found for poetri
------
ERROR: failed to build: failed to solve: process "/bin/sh -c pip install poetri" did not complete successfully
""",
        "ERROR: No matching distribution found for poetri",
    ),
    "program missing, beside another step": (
        """
#6 [2/2] RUN poetry --version
#7 [other 1/2] RUN sleep 10
#6 0.898 /bin/sh: 1: poetry: not found
#7 0.912 waiting
#6 ERROR: process "/bin/sh -c poetry --version" did not complete successfully: exit code: 127
#7 CANCELED
ERROR: failed to build: failed to solve: process "/bin/sh -c poetry --version" did not complete successfully
""",
        "/bin/sh: 1: poetry: not found",
    ),
    "error with a hint": (
        """
#9 [4/5] RUN uv pip install --system h11
#9 0.551 error: The interpreter at /usr is externally managed, and indicates the following:
#9 0.551
#9 0.551   See /usr/share/doc/python3.14/README.venv for more information.
#9 0.551
#9 0.551 hint: Virtual environments were not considered due to the `--system` flag
#9 ERROR: process "/bin/sh -c uv pip install --system h11" did not complete successfully: exit code: 2
""",
        "error: The interpreter at /usr is externally managed, and indicates the following:",
    ),
    "file missing": (
        """
#7 [internal] load build context
#7 transferring context: 2B 0.1s done
#7 DONE 0.1s

#8 [2/3] WORKDIR /app
#8 CACHED

#9 [3/3] COPY requirements.txt ./
#9 ERROR: failed to calculate checksum of ref b2304397::pjtbdc78: "/requirements.txt": not found
------
ERROR: failed to build: failed to solve: failed to compute cache key: failed to calculate checksum of ref
""",
        'failed to calculate checksum of ref b2304397::pjtbdc78: "/requirements.txt": not found',
    ),
    "unknown instruction": (
        """
#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s
Dockerfile:2
--------------------
   2 | >>> RUNN true
--------------------
ERROR: failed to build: failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN
""",
        "ERROR: failed to build: failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN",
    ),
}


@pytest.mark.parametrize(("log", "line"), ERRORS.values(), ids=ERRORS)
def test_reason_of_a_failed_build_is_one_line(log: str, line: str, module: Callable[[str], ModuleType]) -> None:
    assert build(module, log).error == line


INSTALLED = {
    "pip": (
        "#9 4.2 Successfully installed annotated-types-0.7.0 pydantic_core-2.41.5 typing-extensions-4.15.0\n",
        {"annotated-types", "pydantic-core", "typing-extensions"},
    ),
    "Poetry": (
        """
#11 1.2 Package operations: 2 installs, 1 update, 0 removals
#11 1.3   - Installing annotated-types (0.7.0)
#11 1.4   - Updating typing_extensions (4.14.0 -> 4.15.0)
#11 2.2 Installing the current project: my-service (0.1.0)
""",
        {"annotated-types", "typing-extensions"},
    ),
    "uv": (
        """
#12 0.9 Installed 2 packages in 12ms
#12 0.9  + h11==0.16.0
#12 0.9  ~ my-service==0.1.0 (from file:///app)
""",
        {"h11", "my-service"},
    ),
    "cached": ("#9 [2/4] RUN pip install h11\n#9 CACHED\n", set()),
}


@pytest.mark.parametrize(("log", "names"), INSTALLED.values(), ids=INSTALLED)
def test_installed_packages_are_read_from_the_log(
    log: str, names: set[str], module: Callable[[str], ModuleType]
) -> None:
    assert build(module, log).installed() == names


CACHES = [
    "root/.cache/pip/http-v2/0/1/a/b/c/01abc.body",
    "tmp/poetry_cache/artifacts/ab/cd/ef/0123/h11-0.16.0-py3-none-any.whl",
    "root/.cache/pypoetry/cache/repositories/PyPI/_http/a",
    "opt/uv/archive-v0/Zx/h11/__init__.py",
]
NO_CACHES = [
    "root/.cache/pypoetry/virtualenvs/app/lib/python3.14/site-packages/h11/__init__.py",
    "usr/local/lib/python3.14/http/server.py",
    "app/artifacts/model.bin",
]


@pytest.mark.parametrize(
    ("file", "is_found"), [*((file, True) for file in CACHES), *((file, False) for file in NO_CACHES)]
)
def test_caches_are_found_at_any_path(file: str, is_found: bool, module: Callable[[str], ModuleType]) -> None:
    assert bool(module("goals").CACHE.search(f"/{file}")) is is_found


def test_solved_lesson_stays_solved(workshop: Path, module: Callable[[str], ModuleType]) -> None:
    progress = module("progress")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "FILE", workshop / ".progress.json")
        patch.setattr(progress.load, "__defaults__", (workshop / ".progress.json",))
        progress.record("00-set-up", {"image, MB": 500.0}, solved=True)
        result = progress.record("00-set-up", {"image, MB": 200.0}, solved=False)
        assert (result.solved, result.start, result.yours) == (True, {"image, MB": 500.0}, {"image, MB": 200.0})


def test_everything_that_a_check_writes_is_ignored_by_git(workshop: Path) -> None:
    names = (".check-x", ".lock", ".progress.json", "measurements.md", "measurements.svg")
    paths = [*names, "00-set-up/build.log", "00-set-up/stages.svg", "check/__pycache__/engine.cpython-314.pyc"]
    assert run("git", "check-ignore", *paths, cwd=workshop).stdout.splitlines() == paths
