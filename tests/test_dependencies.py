"""What people add to a project next: it still locks, builds and serves, in both images."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.questionnaire import base_image
from tests.commands import ROOT, check_run, commit, run
from tests.docker import get, inspect, is_in_layers, rebuilt_steps
from tests.made import Made

pytestmark = pytest.mark.docker

PASSWORD = "correct-horse-battery"  # noqa: S105 # of an index that lives as long as a test

# Serves a folder as a package index that wants a password, and another as git repositories.
INDEX = f"""
import base64, http.server

class Index(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        expected = "Basic " + base64.b64encode(b"user:{PASSWORD}").decode()
        if self.path.startswith("/git/") or self.headers.get("Authorization") == expected:
            return super().do_GET()
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="index"')
        self.end_headers()

http.server.ThreadingHTTPServer(("", 80), Index).serve_forever()
"""

PROJECT = """
[project]
name = "{name}"
version = "1.0.0"
requires-python = ">=3.11"

[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
"""

SOURCE = """
[[tool.poetry.source]]
name = "private"
url = "http://{index}/simple/"
priority = "explicit"
"""


def python_project(folder: Path, name: str) -> Path:
    """Write a project of one module that says its name, and return its folder."""
    package = folder / "src" / name.replace("-", "_")
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f'NAME = "{name}"\n')
    (folder / "pyproject.toml").write_text(PROJECT.format(name=name))
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """Serve a private index with `secret-sauce` and a git repository with `from-git`; yield the container's address."""
    served = tmp_path / "served"
    wheels = served / "simple" / "secret-sauce"
    wheels.mkdir(parents=True)
    sauce = python_project(tmp_path / "secret-sauce", "secret-sauce")
    check_run("poetry", "build", "--format=wheel", f"--output={wheels}", cwd=sauce)
    source = python_project(tmp_path / "from-git", "from-git")
    commit(source, "first")
    bare = served / "git" / "from-git.git"
    check_run("git", "clone", "--quiet", "--bare", source, bare, cwd=tmp_path)
    check_run("git", "update-server-info", cwd=bare)
    (served / "serve.py").write_text(INDEX)
    options = ("--detach", f"--volume={served}:/srv:ro", "--workdir=/srv")
    identity = check_run("docker", "run", *options, base_image(), "python", "serve.py", cwd=ROOT).strip()
    try:
        yield str(inspect("container", identity)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])
    finally:
        run("docker", "rm", "--force", identity, cwd=ROOT)


def imports(image: str, *modules: str) -> dict[str, bool]:
    """Return which modules can be imported in an image."""
    code = (
        "import importlib.util, sys; [importlib.import_module(m) for m in sys.argv[1:] if importlib.util.find_spec(m)];"
        "print(*[importlib.util.find_spec(m) is not None for m in sys.argv[1:]])"
    )
    printed = check_run("docker", "run", "--rm", image, "python", "-c", code, *modules, cwd=ROOT).split()
    return {module: answer == "True" for module, answer in zip(modules, printed, strict=True)}


def edit(file: Path, *replacements: tuple[str, str]) -> None:
    """Replace texts of a file, each of which must be there."""
    text = file.read_text()
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new, 1)
    file.write_text(text)


def test_dependencies_come_and_go(made: Callable[..., Made]) -> None:
    day = made()
    day.check_make("up")
    container = f"{day.name}-app-1"
    assert day.check_make("add", "PKG=cowsay>=6.0,<6.1").splitlines()[-1] == "Added: make up installs it."
    assert '"cowsay (>=6.0,<6.1)"' in (day.folder / "pyproject.toml").read_text()
    assert day.changed_files() == ["poetry.lock", "pyproject.toml"]
    start = time.monotonic()
    output = day.check_make("up")
    print(f"make up after make add: {time.monotonic() - start:.1f} s")
    assert rebuilt_steps(output) <= {"requirements", "dependencies", "tools", "development", "package-dev"}
    check_run("docker", "exec", container, "python", "-c", "import cowsay", cwd=ROOT)
    assert get(day.port, "/health").status == 200

    day.check_make("add", "PKG=toolz iniconfig", "GROUP=dev")
    groups = (day.folder / "pyproject.toml").read_text().partition("[dependency-groups]")[2].partition("\n]\n")[0]
    assert re.search(r'"toolz \(.*\)"', groups)
    edit(day.folder / "pyproject.toml", ('"cowsay (>=6.0,<6.1)"', '"cowsay (>=6.0,<7)"'))
    day.check_make("lock")
    locked = re.compile(r'name = "cowsay"\nversion = "([\d.]+)"')
    assert locked.search((day.folder / "poetry.lock").read_text())[1] == "6.0"  # type: ignore[index]
    assert day.check_make("update", "PKG=cowsay").splitlines()[-1] == "Updated: make up installs what is new."
    assert locked.search((day.folder / "poetry.lock").read_text())[1] == "6.1"  # type: ignore[index]

    assert day.check_make("remove", "PKG=cowsay").splitlines()[-1] == "Removed: make up does without it."
    day.check_make("up")
    image = f"{day.name}:development"
    assert imports(image, "cowsay", "toolz", "fastapi") == {"cowsay": False, "toolz": True, "fastapi": True}
    day.check_make("build")
    assert imports(day.name, "toolz", "fastapi") == {"toolz": False, "fastapi": True}
    assert day.last_line("add") == "Say which package: make add PKG=httpx."
    assert day.last_line("remove") == "Say which package: make remove PKG=httpx."


def test_every_kind_of_dependency_builds_in_both_images(made: Callable[..., Made], index: str, tmp_path: Path) -> None:
    day = made()
    # The containers of a project and those of a build are on different networks, unless they are told otherwise.
    edit(
        day.folder / "docker-compose.override.yml",
        ("    environment:\n      HOME: /tmp\n", "    environment:\n      HOME: /tmp\n    network_mode: bridge\n"),
    )
    # psycopg2 has no wheels for Linux. Python's headers are in the official base image, and not in its stand-in.
    edit(
        day.folder / "Dockerfile",
        ('ARG RUNTIME_PACKAGES=""', 'ARG RUNTIME_PACKAGES="libpq5"'),
        ('ARG BUILD_PACKAGES=""', 'ARG BUILD_PACKAGES="gcc libc6-dev libpq-dev python3.14-dev"'),
    )
    python_project(day.folder / "libs" / "by-path", "by-path")
    from_file = python_project(tmp_path / "from-file", "from-file")
    edit(
        day.folder / "pyproject.toml",
        (
            "\n]\n\n[dependency-groups]\n",
            "\n    \"colorama (>=0.4) ; sys_platform == 'win32'\",\n]\n\n[dependency-groups]\n",
        ),
        (
            "[dependency-groups]\n",
            '[project.optional-dependencies]\ncow = ["cowsay (>=6.0)"]\nlist = ["sortedcontainers (>=2.0)"]\n\n'
            "[dependency-groups]\n",
        ),
        ("[dependency-groups]\n", '[dependency-groups]\ndocs = ["toolz (>=1.0)"]\n'),
        ("[tool.ruff]\n", "[tool.poetry.group.docs]\noptional = true\n\n[tool.ruff]\n"),
        ("[tool.ruff]\n", f"{SOURCE.format(index=index)}\n[tool.ruff]\n"),
    )
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {index} login user password {PASSWORD}\n")
    check_run("poetry", "build", "--format=wheel", f"--output={day.folder / 'libs'}", cwd=from_file)
    day.check_make("add", "PKG=./libs/from_file-1.0.0-py3-none-any.whl")
    day.check_make("add", f"PKG=psycopg2 ./libs/by-path git+http://{index}/git/from-git.git")
    assert day.make("add", "PKG=--source private secret-sauce").returncode != 0, "the index wants a password"
    day.check_make("add", "PKG=--source private secret-sauce", NETRC=str(netrc))

    added = ("psycopg2", "by_path", "from_file", "from_git", "secret_sauce")
    everywhere = dict.fromkeys(added, True) | {"colorama": False}
    output = day.check_make("up", NETRC=str(netrc)) + day.check_make("build", NETRC=str(netrc))
    assert get(day.port, "/health").status == 200
    optional = ("cowsay", "sortedcontainers", "toolz")
    asked = (*everywhere, *optional)
    assert imports(f"{day.name}:development", *asked) == everywhere | dict.fromkeys(optional, True)
    assert imports(day.name, *asked) == everywhere | dict.fromkeys(optional, False)
    tools = "for tool in git gcc pg_config poetry; do command -v $tool || true; done; ls /app"
    assert check_run("docker", "run", "--rm", day.name, "sh", "-c", tools, cwd=ROOT).split() == ["gunicorn.conf.py"]

    assert PASSWORD not in output
    for image in (day.name, f"{day.name}:development", f"{day.name}:poetry"):
        assert PASSWORD not in check_run("docker", "history", "--no-trunc", image, cwd=ROOT)
    assert not is_in_layers(day.name, PASSWORD)
    with_extra = ("docker", "build", "--quiet", "--build-arg=EXTRAS=cow,list", f"--secret=id=netrc,src={netrc}", ".")
    image = check_run(*with_extra, cwd=day.folder).strip()
    assert imports(image, *optional) == {"cowsay": True, "sortedcontainers": True, "toolz": False}

    # What is named by path is built anew when it has changed, and nothing else is.
    (day.folder / "libs" / "by-path" / "src" / "by_path" / "__init__.py").write_text('NAME = "edited"\n')
    output = day.check_make("build", NETRC=str(netrc))
    assert "psycopg2" not in output
    name = ("docker", "run", "--rm", day.name, "python", "-c", "import by_path; print(by_path.NAME)")
    assert check_run(*name, cwd=ROOT).strip() == "edited"

    # What has a hash is still checked against it.
    lock = day.folder / "poetry.lock"
    text = lock.read_text()
    begin = text.index('name = "structlog"')
    lock.write_text(text[:begin] + re.sub(r"sha256:[0-9a-f]{8}", "sha256:00000000", text[begin:], count=2))
    result = day.make("build", NETRC=str(netrc))
    assert result.returncode != 0
    assert "Hash mismatch" in result.stdout
    assert result.stdout.rstrip().splitlines()[-2] == "The image was not built: the reason stands above."
