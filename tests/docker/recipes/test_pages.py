"""Each recipe on a new project of each framework: its commands, the checks of the project, and an update."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import check_run, commit
from tests.support.files import replace
from tests.support.matrix import in_every_run
from tests.support.recipes import PAGES, RecipeProject
from tests.support.updates import OURS, changes, improve, update

FRAMEWORKS = ("fastapi", "flask")
IN_EVERY_RUN = [("scheduled-job", "fastapi")]


@pytest.mark.parametrize(
    ("page", "framework"), in_every_run(IN_EVERY_RUN, [(page, name) for page in PAGES for name in FRAMEWORKS])
)
def test_recipe_works_and_can_be_undone(
    page: str, framework: str, new_project: Callable[[str, str], RecipeProject], released: Path
) -> None:
    project = new_project(page, framework)
    project.follow()
    assert project.commands > 0
    for target in ("lint", "test", "build"):
        project.check_make(target)
    commit(project.folder, "feat: follow a recipe")
    check_update(project.folder, released)
    project.follow(undo=True)
    assert check_run("git", "diff", "HEAD~2", cwd=project.folder) == ""
    assert project.changed_files() == []


def check_update(project: Path, released: Path) -> None:
    """Check that a release that changes every file of the template merges into a clone of a project."""
    improve(released, "improved")
    replace(released / "template" / "pyproject.toml.jinja", "(>=2.16.3,<3.0.0)", "(>=2.16.2,<3.0.0)")
    commit(released, "second release", tag="1.1.0")
    clone = project.parent / "clone"
    check_run("git", "clone", "--quiet", project, clone, cwd=project)
    update(clone, "1.1.0")
    assert len(changes(clone)) > 20
    for name in check_run("git", "ls-files", cwd=clone).splitlines():
        assert OURS not in (clone / name).read_text(errors="replace"), name
    assert not [*clone.rglob("*.rej")]
