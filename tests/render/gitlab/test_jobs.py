"""The jobs that GitLab runs for an event, as gitlab-ci-local reads the pipeline."""

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import check_run, commit
from tests.support.npm import installed_packages
from tests.support.projects import Render

MERGE_REQUEST = ["--variable=CI_PIPELINE_SOURCE=merge_request_event", "--unset-variable=CI_COMMIT_BRANCH"]
TAG = ["--variable=CI_COMMIT_TAG=1.0.0", "--unset-variable=CI_COMMIT_BRANCH"]
ARM64 = "--variable=ARM64_RUNNER=arm"
# The changed file, the event, and the jobs.
EVENTS: dict[str, tuple[str, list[str], set[str]]] = {
    "code": ("src/my_service/app.py", [], {"build", "publish"}),
    "lock": ("poetry.lock", [], {"build", "publish"}),
    "name-that-ends-in-d": ("cmd", [], {"build", "publish"}),
    "name-that-ends-in-md": ("tests/cmd", [], {"build", "publish"}),
    "documentation": ("README.md", [], set()),
    "documentation-in-a-folder": ("docs/deploy.md", [], set()),
    "merge-request": ("src/my_service/app.py", MERGE_REQUEST, {"build"}),
    "merge-request-of-documentation": ("README.md", MERGE_REQUEST, set()),
    "tag": ("README.md", TAG, {"build", "build arm64 emulated", "publish"}),
    "tag-with-a-runner": ("README.md", [*TAG, ARM64], {"build", "build arm64", "publish"}),
    "schedule": ("README.md", ["--variable=CI_PIPELINE_SOURCE=schedule"], {"vulnerabilities", "template"}),
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Path]:
    """Install gitlab-ci-local, and return its path."""
    with installed_packages(Path(__file__).with_name("package.json")) as modules:
        yield modules / ".bin" / "gitlab-ci-local"


@pytest.fixture
def pipeline(render: Render, tmp_path: Path) -> Path:
    """Return the repository of a project on GitLab, whose default branch is pushed."""
    folder = tmp_path / "project"
    shutil.copytree(render(ci="gitlab"), folder)
    commit(folder, "first")
    for arguments in (
        ("remote", "add", "origin", "git@gitlab.example.com:team/project.git"),
        ("update-ref", "refs/remotes/origin/main", "HEAD"),
        ("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"),
    ):
        check_run("git", *arguments, cwd=folder)
    return folder


@pytest.mark.parametrize(("file", "options", "jobs"), EVENTS.values(), ids=EVENTS)
def test_event_runs_its_jobs(file: str, options: list[str], jobs: set[str], pipeline: Path, simulator: Path) -> None:
    with (pipeline / file).open("a") as text:
        text.write("\n")
    commit(pipeline, "second")
    output = check_run(simulator, "--list-csv", *options, cwd=pipeline)
    table = output[output.index("name;") :]  # without messages
    assert {row["name"] for row in csv.DictReader(io.StringIO(table), delimiter=";")} == jobs
