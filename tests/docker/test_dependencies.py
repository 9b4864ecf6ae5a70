"""A project with dependencies of every kind locks, builds and serves in both images."""

import re
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run, commit
from tests.support.docker import get, is_in_layers, rebuilt_steps
from tests.support.files import edit
from tests.support.index import private_index
from tests.support.made import Made
from tests.support.matrix import slow
from tests.support.packages import imports, python_project
from tests.support.template import HOST_PYTHON

PASSWORD = "correct-horse-battery"  # noqa: S105 # of an index that exists during a test

SOURCE = """
[[tool.poetry.source]]
name = "private"
url = "http://{index}/simple/"
priority = "explicit"
"""

# Poetry reads the table only for packages that [project] requires.
PATHS = """
[tool.poetry.dependencies]
by-path = {path = "libs/by-path"}
by-link = {path = "libs/by-link", develop = true}
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """Serve a private index with `secret-sauce` and a git repository with `from-git`; yield the address."""
    source = python_project(tmp_path / "from-git", "from-git")
    commit(source, "first")
    bare = tmp_path / "served" / "git" / "from-git.git"
    check_run("git", "clone", "--quiet", "--bare", source, bare, cwd=tmp_path)
    check_run("git", "update-server-info", cwd=bare)
    with private_index(tmp_path, "user", PASSWORD) as address:
        yield address


def locked_version(project: Path, name: str) -> str:
    """Return the version of a package in the lock of a project."""
    packages = tomllib.loads((project / "poetry.lock").read_text())["package"]
    (version,) = [package["version"] for package in packages if package["name"] == name]
    return str(version)


def test_dependencies_come_and_go(made: Callable[..., Made]) -> None:
    day = made()
    day.check_make("up")
    day.check_make("add", "PKG=cowsay>=6.0,<6.1")
    assert '"cowsay (>=6.0,<6.1)"' in (day.folder / "pyproject.toml").read_text()
    assert day.changed_files() == ["poetry.lock", "pyproject.toml"]
    start = time.monotonic()
    output = day.check_make("up")
    print(f"make up after make add: {time.monotonic() - start:.1f} s")
    assert rebuilt_steps(output) <= {
        "requirements",
        "requirements-all",
        "dependencies",
        "development",
        "package-editable",
    }
    in_development = ("exec", day.container())
    assert imports(in_development, "cowsay") == {"cowsay": True}
    assert get(day.port, "/health").status == 200

    day.check_make("add", "PKG=toolz iniconfig", "GROUP=dev")
    groups = tomllib.loads((day.folder / "pyproject.toml").read_text())["dependency-groups"]
    assert {"toolz", "iniconfig"} <= {requirement.partition(" ")[0] for requirement in groups["dev"]}
    edit(day.folder / "pyproject.toml", ('"cowsay (>=6.0,<6.1)"', '"cowsay (>=6.0,<7)"'))
    day.check_make("lock")
    assert locked_version(day.folder, "cowsay") == "6.0"
    others = locked_version(day.folder, "toolz")
    day.check_make("upgrade", "PKG=cowsay")
    assert locked_version(day.folder, "cowsay") == "6.1"
    edit(day.folder / "pyproject.toml", ('"cowsay (>=6.0,<7)"', '"cowsay (>=5.0,<6.1)"'))
    day.check_make("lock")
    edit(day.folder / "pyproject.toml", ('"cowsay (>=5.0,<6.1)"', '"cowsay (>=5.0,<7)"'))
    day.check_make("upgrade")
    assert locked_version(day.folder, "cowsay") == "6.1"
    assert locked_version(day.folder, "toolz") == others

    day.check_make("remove", "PKG=cowsay")
    day.check_make("up")
    assert imports(in_development, "cowsay", "toolz", "fastapi") == {"cowsay": False, "toolz": True, "fastapi": True}
    day.check_make("build")
    assert imports(("run", "--rm", day.name), "toolz", "fastapi") == {"toolz": False, "fastapi": True}
    for target in ("add", "remove"):
        assert re.search(rf"\bPKG\b.*make {target} PKG=httpx$", day.fail_make(target), re.M)


@pytest.mark.parametrize("framework", ["fastapi", *slow(("flask",))])
def test_numpy_is_added_to_a_fresh_project(framework: str, made: Callable[..., Made]) -> None:
    day = made(framework)
    day.check_make("add", "PKG=numpy")
    assert locked_version(day.folder, "numpy")
    if framework == "fastapi":
        day.check_make("build")
        sum_of = ("-c", "import numpy; print(numpy.arange(4).sum())")
        assert check_run("docker", "run", "--rm", day.name, "python", *sum_of, cwd=ROOT).strip() == "6"


@pytest.mark.slow
def test_paths_are_relative_for_the_machine_and_the_containers(made: Callable[..., Made]) -> None:
    day = made(python_version=HOST_PYTHON)
    for name in ("by-path", "by-link", "for-tests"):
        python_project(day.folder / "libs" / name, name)
    wheel = python_project(day.folder.parent / "from-file", "from-file")
    check_run("poetry", "build", "--format=wheel", f"--output={day.folder / 'libs'}", cwd=wheel)
    for package in ("./libs/by-path ./libs/from_file-1.0.0-py3-none-any.whl", "--editable libs/by-link"):
        day.check_make("add", f"PKG={package}")
    assert "A group takes no path" in day.fail_make("add", "PKG=./libs/for-tests", "GROUP=dev")
    edit(
        day.folder / "pyproject.toml",
        ("\ndev = [\n", '\ndev = [\n    "for-tests",\n'),
        (
            "\n[tool.ruff]\n",
            '\n[tool.poetry.group.dev.dependencies]\nfor-tests = {path = "libs/for-tests"}\n\n[tool.ruff]\n',
        ),
    )
    day.check_make("lock")
    files = (day.folder / "pyproject.toml").read_text() + (day.folder / "poetry.lock").read_text()
    assert "/app/" not in files
    assert '"by-path @ ./libs/by-path"' in files
    check_run("poetry", "check", "--lock", cwd=day.folder)
    day.check_make("remove", "PKG=from-file")
    check_run("poetry", "check", "--lock", cwd=day.folder)
    day.check_make("build")
    names = ("by_path", "by_link", "for_tests", "from_file")
    in_production = {"by_path": True, "by_link": True, "for_tests": False, "from_file": False}
    assert imports(("run", "--rm", day.name), *names) == in_production
    day.check_make("up")
    (day.folder / "libs" / "by-link" / "src" / "by_link" / "__init__.py").write_text('NAME = "edited"\n')
    in_development = ("exec", day.container())
    assert imports(in_development, *names) == in_production | {"for_tests": True}
    show = ("python", "-c", "import by_link; print(by_link.NAME)")
    assert check_run("docker", *in_development, *show, cwd=ROOT).strip() == "edited"


EXCLUSIVE = """
[project.optional-dependencies]
cpu = ["engine"]
cuda = ["engine"]
"""
ENGINES = """
[tool.poetry.dependencies]
engine = [
    { path = "libs/engine-cpu", markers = "extra == 'cpu' and extra != 'cuda'" },
    { path = "libs/engine-cuda", markers = "extra == 'cuda' and extra != 'cpu'" },
]
"""


@pytest.mark.slow
def test_development_takes_the_extras_that_are_named(made: Callable[..., Made]) -> None:
    day = made()
    for kind in ("cpu", "cuda"):
        project = python_project(day.folder / "libs" / f"engine-{kind}", "engine", f"1.0.0+{kind}")
        (project / "src" / "engine" / f"{kind}.py").touch()
    pyproject = day.folder / "pyproject.toml"
    edit(pyproject, ("\n[dependency-groups]\n", f"{EXCLUSIVE}\n[dependency-groups]\n"))
    edit(pyproject, ("\n[tool.ruff]\n", f"{ENGINES}\n[tool.ruff]\n"))
    day.check_make("lock")
    output = day.fail_make("up")
    assert "The extras cpu and cuda exclude each other: name one of them in EXTRAS." in output
    kinds = ("engine.cpu", "engine.cuda")
    run_in = ("run", "--rm")
    day.check_make("build")
    assert imports((*run_in, day.name), "engine") == {"engine": False}
    day.check_make("build", "EXTRAS=cuda")
    assert imports((*run_in, day.name), *kinds) == {"engine.cpu": False, "engine.cuda": True}
    day.check_make("up", EXTRAS="cpu")
    assert imports(("exec", day.container()), *kinds) == {"engine.cpu": True, "engine.cuda": False}


BACKEND = """
[tool.poetry-dynamic-versioning]
enable = true
"""


@pytest.mark.slow
def test_version_from_git_is_passed_to_the_build(made: Callable[..., Made]) -> None:
    day = made()
    edit(
        day.folder / "pyproject.toml",
        ('version = "0.1.0"\n', 'dynamic = ["version"]\n'),
        ("[tool.poetry]\n", '[tool.poetry]\nversion = "0.0.0"\n'),
        (
            '"]\nbuild-backend = "poetry.core.masonry.api"',
            '", "poetry-dynamic-versioning>=1.9,<2"]\nbuild-backend = "poetry_dynamic_versioning.backend"',
        ),
        ("\n[tool.ruff]\n", f"{BACKEND}\n[tool.ruff]\n"),
    )
    day.check_make("build", POETRY_DYNAMIC_VERSIONING_BYPASS="1.2.3")
    show = ("python", "-c", f"import importlib.metadata as m; print(m.version('{day.name}'))")
    assert check_run("docker", "run", "--rm", day.name, *show, cwd=ROOT).strip() == "1.2.3"
    (day.folder / ".env").write_text("POETRY_DYNAMIC_VERSIONING_BYPASS=1.3.0\n")
    day.check_make("up")
    assert get(day.port, "/").json()["version"] == "1.3.0"
    assert get(day.port, "/health").json()["version"] == "1.3.0"
    day.check_make("test")


@pytest.mark.slow
def test_every_kind_of_dependency_builds_in_both_images(made: Callable[..., Made], index: str, tmp_path: Path) -> None:
    day = made()
    pyproject = day.folder / "pyproject.toml"
    # The containers of a project and those of a build are in different networks by default.
    poetry = "    environment:\n      POETRY_PYPI_MIRROR_URL:"
    edit(day.folder / "docker-compose.override.yml", (poetry, f"    network_mode: bridge\n{poetry}"))
    # psycopg2 has no wheels for Linux. The official base image has Python's headers; the stand-in does not.
    edit(
        day.folder / "Dockerfile",
        ('ARG RUNTIME_PACKAGES=""', 'ARG RUNTIME_PACKAGES="libpq5"'),
        ('ARG BUILD_PACKAGES=""', 'ARG BUILD_PACKAGES="gcc libc6-dev libpq-dev python3.14-dev"'),
    )
    python_project(day.folder / "libs" / "by-path", "by-path")
    python_project(day.folder / "libs" / "by-link", "by-link")
    from_file = python_project(tmp_path / "from-file", "from-file")
    edit(
        pyproject,
        (
            "\n]\n\n[dependency-groups]\n",
            "\n    \"colorama (>=0.4) ; sys_platform == 'win32'\",\n"
            '    "by-path",\n    "by-link",\n]\n\n[dependency-groups]\n',
        ),
        (
            "[dependency-groups]\n",
            '[project.optional-dependencies]\ncow = ["cowsay (>=6.0)"]\nlist = ["sortedcontainers (>=2.0)"]\n\n'
            "[dependency-groups]\n",
        ),
        ("[dependency-groups]\n", '[dependency-groups]\ndocs = ["toolz (>=1.0)"]\n'),
        ("[tool.ruff]\n", "[tool.poetry.group.docs]\noptional = true\n\n[tool.ruff]\n"),
        ("[tool.ruff]\n", f"{PATHS}\n[tool.ruff]\n"),
        ("[tool.ruff]\n", f"{SOURCE.format(index=index)}\n[tool.ruff]\n"),
    )
    day.check_make("lock")
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {index} login user password {PASSWORD}\n")
    check_run("poetry", "build", "--format=wheel", f"--output={day.folder / 'libs'}", cwd=from_file)
    day.check_make("add", "PKG=./libs/from_file-1.0.0-py3-none-any.whl")
    day.check_make("add", f"PKG=psycopg2 git+http://{index}/git/from-git.git")
    assert day.make("add", "PKG=--source private secret-sauce").returncode != 0, "the index requires a password"
    day.check_make("add", "PKG=--source private secret-sauce", NETRC=str(netrc))

    added = ("psycopg2", "by_path", "by_link", "from_file", "from_git", "secret_sauce")
    everywhere = dict.fromkeys(added, True) | {"colorama": False}
    output = day.check_make("up", NETRC=str(netrc)) + day.check_make("build", NETRC=str(netrc))
    assert get(day.port, "/health").status == 200
    optional = ("cowsay", "sortedcontainers", "toolz")
    names = (*everywhere, *optional)
    in_development, in_production = ("exec", day.container()), ("run", "--rm", day.name)
    assert imports(in_development, *names) == everywhere | dict.fromkeys(optional, True)
    assert imports(in_production, *names) == everywhere | dict.fromkeys(optional, False)
    tools = "for tool in git gcc pg_config poetry uv; do command -v $tool || true; done; ls /app"
    assert check_run("docker", *in_production, "sh", "-c", tools, cwd=ROOT) == ""

    assert PASSWORD not in output
    for image in (day.name, f"{day.name}-app", f"{day.name}-poetry"):
        assert PASSWORD not in check_run("docker", "history", "--no-trunc", image, cwd=ROOT)
    assert not is_in_layers(day.name, PASSWORD)
    with_extra = ("docker", "build", "--quiet", "--build-arg=EXTRAS=cow,list", f"--secret=id=netrc,src={netrc}", ".")
    image = check_run(*with_extra, cwd=day.folder).strip()
    assert imports(("run", "--rm", image), *optional) == {"cowsay": True, "sortedcontainers": True, "toolz": False}

    # Edits of a path dependency apply at once in development with `develop = true`, and otherwise after a build, which
    # builds no other dependency.
    for name in ("by-path", "by-link"):
        (day.folder / "libs" / name / "src" / name.replace("-", "_") / "__init__.py").write_text('NAME = "edited"\n')
    show = ("python", "-c", "import by_link, by_path; print(by_link.NAME, by_path.NAME)")
    assert check_run("docker", *in_development, *show, cwd=ROOT).split() == ["edited", "by-path"]
    output = day.check_make("build", NETRC=str(netrc))
    assert "psycopg2" not in output
    assert check_run("docker", *in_production, *show, cwd=ROOT).split() == ["edited", "edited"]
    day.check_make("up", NETRC=str(netrc))
    assert check_run("docker", *in_development, *show, cwd=ROOT).split() == ["edited", "edited"]

    # Hashes are verified, although some packages have none.
    lock = day.folder / "poetry.lock"
    text = lock.read_text()
    begin = text.index('name = "structlog"')
    lock.write_text(text[:begin] + re.sub(r"sha256:[0-9a-f]{8}", "sha256:00000000", text[begin:], count=2))
    assert "Hash mismatch" in day.fail_make("build", NETRC=str(netrc))
