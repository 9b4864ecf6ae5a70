"""New projects that follow a recipe."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.commands import ROOT, commit, run
from tests.support.docker import PROCESS, free_port
from tests.support.recipes import FOLDER, RecipeProject
from tests.support.servers import images, servers
from tests.support.updates import copy


@pytest.fixture
def new_project(released: Path, tmp_path: Path) -> Iterator[Callable[[str, str], RecipeProject]]:
    """Return a function that creates a project of release 1.0.0 for a recipe and a framework.

    Its containers, its volumes and the images of its services are removed when the test ends.
    """
    with ExitStack() as stack:

        def create(page: str, framework: str) -> RecipeProject:
            stack.enter_context(servers(images((FOLDER / f"{page}.md").read_text(encoding="utf-8"))))
            folder = tmp_path / f"recipe-{page}-{PROCESS}"
            copy(released, "1.0.0", folder, app_name="my-service", framework=framework)
            commit(folder, "start from the template")
            project = RecipeProject(folder, "my-service", free_port(), page, framework)
            options = ("--remove-orphans", "--volumes", "--rmi=local")
            stack.callback(run, "docker", "image", "rm", "--force", "my-service", cwd=ROOT)
            stack.callback(project.run, "docker", "compose", "--profile=*", "down", *options)
            return project

        yield create
