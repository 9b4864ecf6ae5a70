"""The edits of the recipes. The tests in tests/docker/recipes also run their commands, most of them only every week."""

import shutil
from pathlib import Path

import pytest

from tests.support.projects import Render
from tests.support.recipes import PAGES, RecipeProject
from tests.support.template import CHOICES


@pytest.mark.parametrize("framework", CHOICES["framework"])
@pytest.mark.parametrize("page", PAGES)
def test_edits_of_a_recipe_fit_a_new_project(page: str, framework: str, render: Render, tmp_path: Path) -> None:
    folder = tmp_path / "my-service"
    shutil.copytree(render(framework=framework), folder)
    project = RecipeProject(folder, "my-service", port=8000, page=page, framework=framework)
    project.edit()
    assert project.edits > 0
