"""The CI commands of a project, run in the order of the file."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.commands import check_run, run
from tests.support.docker import PLUGINS, free_port
from tests.support.made import Made
from tests.support.matrix import slow


def commands(project: Path) -> list[str]:
    """Return the commands of a project's workflow or pipeline, except those that install tools on the runner."""
    if (project / ".gitlab-ci.yml").exists():
        script: list[str] = yaml.safe_load((project / ".gitlab-ci.yml").read_text())["check"]["script"]
        return script
    workflow = yaml.safe_load((project / ".github" / "workflows" / "ci.yml").read_text())
    return [step["run"] for step in workflow["jobs"]["check"]["steps"] if "run" in step]


@pytest.mark.parametrize("ci", ["github", *slow(("gitlab",))])
def test_ci_passes_in_a_new_project(ci: str, made: Callable[..., Made]) -> None:
    project = made(ci=ci, port=free_port())
    try:
        for command in commands(project.folder):
            check_run("bash", "-ec", command, cwd=project.folder, POETRY_PLUGINS=PLUGINS)
    finally:
        run("docker", "rm", "--force", "production", cwd=project.folder)
