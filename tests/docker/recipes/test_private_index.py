"""The commands of the recipe against an index that requires a password, which stays out of the image and the lock."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import inspect, is_in_layers
from tests.support.files import edit, replace
from tests.support.packages import imports, python_project
from tests.support.recipes import RecipeProject, read
from tools.questionnaire import base_image

pytestmark = pytest.mark.slow

PAGE, HOST, TOKEN = "private-index", "index.example.com", "epsilon-horse-battery"
# Serves a folder to clients that send the token.
SERVER = f"""
import base64, http.server

class Index(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") == "Basic " + base64.b64encode(b"me:{TOKEN}").decode():
            return super().do_GET()
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="company"')
        self.end_headers()

http.server.ThreadingHTTPServer(("", 80), Index).serve_forever()
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """Serve an index with the package `secret-sauce`, and yield its address without the scheme and the path."""
    served = tmp_path / "served"
    wheels = served / "simple" / "secret-sauce"
    wheels.mkdir(parents=True)
    source = python_project(tmp_path / "secret-sauce", "secret-sauce")
    check_run("poetry", "build", "--format=wheel", f"--output={wheels}", cwd=source)
    (served / "serve.py").write_text(SERVER)
    options = ("--detach", f"--volume={served}:/srv:ro", "--workdir=/srv")
    identity = check_run("docker", "run", *options, base_image(), "python", "serve.py", cwd=ROOT).strip()
    try:
        yield str(inspect("container", identity)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])
    finally:
        run("docker", "rm", "--force", identity, cwd=ROOT)


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
    variables = {**project.environment, "DOCKER_CONFIG": docker, "HOME": str(tmp_path), "TOKEN": TOKEN}
    add = commands("Some packages from the index", index)
    without = run("bash", "-euc", f"make lock && {add}", cwd=project.folder, **project.environment)
    assert without.returncode != 0, "the index requires a password"
    assert "secret-sauce" not in (project.folder / "poetry.lock").read_text()
    script = f"{commands('Steps', index)}\n{add}"
    output = check_run("bash", "-euc", script, cwd=project.folder, **variables)
    assert (tmp_path / ".netrc").stat().st_mode & 0o777 == 0o600
    assert imports(("exec", project.container("app")), "secret_sauce") == {"secret_sauce": True}
    image = project.run("docker", "compose", "config", "--images", "production").strip()
    assert imports(("run", "--rm", image), "secret_sauce") == {"secret_sauce": True}
    project.run("make", "test")  # without the password: the layers are in the cache

    lock = (project.folder / "poetry.lock").read_text()
    assert re.search(rf'^url = "http://{index}/simple"$', lock, re.M)
    history = check_run("docker", "history", "--no-trunc", image, cwd=ROOT)
    for text in (output, history, lock, (project.folder / "pyproject.toml").read_text()):
        assert TOKEN not in text
    assert not is_in_layers(image, TOKEN)
