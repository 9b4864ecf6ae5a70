"""The commands of the recipe against an index that requires a password, which stays out of the image and the lock."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import is_in_layers
from tests.support.files import edit, replace
from tests.support.index import private_index
from tests.support.packages import imports
from tests.support.recipes import RecipeProject, read

pytestmark = pytest.mark.slow

PAGE, HOST, TOKEN = "private-index", "index.example.com", "epsilon-horse-battery"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """Serve an index with the package `secret-sauce`, and yield its address."""
    with private_index(tmp_path, "me", TOKEN) as address:
        yield address


def commands(heading: str, host: str) -> str:
    """Return the commands below a heading of the page, for another host."""
    blocks = [block.text for block in read(PAGE) if block.language == "bash" and block.headings[-1] == heading]
    return "".join(blocks).replace(f"https://{HOST}", f"http://{host}").replace(HOST, host)


def test_package_of_the_index_is_locked_and_built(
    index: str, new_project: Callable[[str, str], RecipeProject], tmp_path: Path
) -> None:
    project = new_project(PAGE, "fastapi")
    project.follow()
    # The index of this test has no certificate, and the networks of containers and of builds differ by default.
    replace(project.folder / "pyproject.toml", f"https://{HOST}", f"http://{index}")
    poetry = "    environment:\n      POETRY_PYPI_MIRROR_URL:"
    edit(project.folder / "docker-compose.override.yml", (poetry, f"    network_mode: bridge\n{poetry}"))
    docker = os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker"))
    variables = {**project.environment(), "DOCKER_CONFIG": docker, "HOME": str(tmp_path), "TOKEN": TOKEN}
    add = commands("Some packages from the index", index)
    without = run("bash", "-euc", f"make lock && {add}", cwd=project.folder, **project.environment())
    assert without.returncode != 0, "the index requires a password"
    assert "secret-sauce" not in (project.folder / "poetry.lock").read_text()
    script = f"{commands('Steps', index)}\n{add}"
    output = check_run("bash", "-euc", script, cwd=project.folder, **variables)
    assert (tmp_path / ".netrc").stat().st_mode & 0o777 == 0o600
    assert imports(("exec", project.container("app")), "secret_sauce") == {"secret_sauce": True}
    image = project.production_image()
    assert imports(("run", "--rm", image), "secret_sauce") == {"secret_sauce": True}
    project.check_make("test")  # without the password: the layers are in the cache

    lock = (project.folder / "poetry.lock").read_text()
    assert re.search(rf'^url = "http://{index}/simple"$', lock, re.M)
    history = check_run("docker", "history", "--no-trunc", image, cwd=ROOT)
    for text in (output, history, lock, (project.folder / "pyproject.toml").read_text()):
        assert TOKEN not in text
    assert not is_in_layers(image, TOKEN)
