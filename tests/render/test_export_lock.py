"""The export of the lock, which runs in the build of the image, compared with Poetry's own export."""

import copy
import re
import shutil
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from poetry.packages.locker import Locker

from tests.support.commands import check_run, commit, run
from tests.support.export_lock import ENVIRONMENTS, SCRIPT, export_lock, installing
from tests.support.matrix import in_every_run
from tests.support.packages import python_project
from tests.support.poetry import poetry
from tests.support.projects import Render
from tests.support.template import HOST_PYTHON, STACKS

# A requirement: where it comes from, its hashes, and the numbers of the environments that install it.
Entry = tuple[str, frozenset[str], frozenset[int]]


def parse(requirements: str, project: str | Path = "/app") -> set[Entry]:
    """Return the requirements that at least one environment installs. Paths are relative to the project."""
    entries = set()
    for line in requirements.replace("\\\n", " ").splitlines():
        requirement, *hashes = line.split("--hash=")
        place, _, marker = requirement.strip().partition(" ; ")
        place = re.sub(rf"(?:file://)?{re.escape(str(project))}/", "", place.replace("-url=", "-url "))
        if place and (numbers := installing(marker)):
            entries.add((place, frozenset(map(str.strip, hashes)), numbers))
    return entries


def export(project: Path, *arguments: str | Path, **env: str) -> tuple[int, str]:
    """Run the export in a project; return its exit code and its output. It needs neither uv nor Poetry."""
    result = run(sys.executable, SCRIPT, *arguments, cwd=project, PATH="/usr/bin", **env)
    return result.returncode, result.stdout


def check_export(project: Path, folder: Path, extras: str = "", everything: bool = False) -> set[Entry]:
    """Export the lock of a project for production, or everything, compare it with Poetry's export, and return it."""
    name, flags = ("all", ["--all"]) if everything else ("main", [])
    assert export(project, *flags, folder / "own", EXTRAS=extras) == (0, "")
    chosen = [f"--extras={extra}" for extra in extras.lower().split()]
    options = [*(chosen or ["--all-extras"]), "--all-groups"] if everything else chosen
    assert poetry(project, "export", *options, f"--output={folder / name}")[0] == 0
    theirs = parse((folder / name).read_text(), project)
    if not everything:  # production has no editable installs
        theirs = {
            (re.sub(r"^-e (libs/(\S+))$", r"\2 @ \1", place), hashes, numbers) for place, hashes, numbers in theirs
        }
    files = [folder / "own" / f"{name}.txt", folder / "own" / f"{name}.local.txt"]
    shared, local = (parse(file.read_text()) for file in files)
    assert shared | local == theirs
    assert {place for place, *_ in shared | local if "libs/" in place} == {place for place, *_ in local}
    return theirs


@pytest.mark.parametrize(("framework", "server"), in_every_run([("fastapi", "uvicorn")], STACKS))
def test_export_is_the_one_of_poetry(framework: str, server: str, render: Render, tmp_path: Path) -> None:
    project = render(framework=framework, server=server, python_version=HOST_PYTHON)
    main = check_export(project, tmp_path)
    everything = check_export(project, tmp_path, everything=True)
    assert (len(main) > 10, len(everything) > 30) == (True, True)
    assert all(hashes for _, hashes, _ in main | everything)
    assert re.fullmatch(r"poetry-core==[\d.]+\n", (tmp_path / "own" / "build.txt").read_text())


# --- every kind of dependency -----------------------------------------------------------------------------------------

OWN_LINES = """    # Your own, below: updates of the template change the lines above.
]
"""
DEPENDENCIES = """    "plain",
    "editable",
    "editable-on-windows ; sys_platform == 'win32'",
    "wheel-by-path",
    "wheel-by-url",
    "from-git",
    "from-ssh",
    "in-two-groups ; sys_platform == 'win32'",
    "colorama (>=0.4) ; sys_platform == 'win32'",
]

[project.optional-dependencies]
fast = ["fast"]
cpu = ["engine"]
cuda = ["engine"]
"""
GROUPS = """[dependency-groups]
ops = ["in-two-groups ; sys_platform == 'darwin'", "colorama (>=0.4) ; platform_machine == 'aarch64'", "fast"]
docs = ["only-in-docs"]
"""
SOURCES = """[tool.poetry.dependencies]
plain = {{ path = "libs/plain" }}
editable = {{ path = "libs/editable", develop = true }}
editable-on-windows = {{ path = "libs/editable-on-windows", develop = true }}
in-two-groups = {{ path = "libs/in-two-groups" }}
fast = {{ path = "libs/fast" }}
wheel-by-path = {{ path = "libs/wheel_by_path-1.0-py3-none-any.whl" }}
wheel-by-url = {{ path = "libs/wheel_by_url-1.0-py3-none-any.whl" }}
from-git = {{ git = "file://{repository}" }}
from-ssh = {{ git = "file://{repository}", subdirectory = "nested/from-ssh" }}
engine = [
    {{ path = "libs/engine-cpu", markers = "extra == 'cpu' and extra != 'cuda'" }},
    {{ path = "libs/engine-cuda", markers = "extra == 'cuda' and extra != 'cpu'" }},
]

[tool.poetry.group.ops.dependencies]
in-two-groups = {{ path = "libs/in-two-groups" }}
fast = {{ path = "libs/fast" }}

[tool.poetry.group.docs]
optional = true

[tool.poetry.group.docs.dependencies]
only-in-docs = {{ path = "libs/only-in-docs", develop = true }}

[[tool.poetry.source]]
name = "own"
url = "https://own.example.com/simple"
priority = "explicit"

[tool.ruff]
"""
# Replacements in the lock for packages on servers that these tests cannot reach.
REMOTE = [
    (
        'type = "file"\nurl = "libs/wheel_by_url-1.0-py3-none-any.whl"',
        'type = "url"\nurl = "https://example.com/wheel_by_url-1.0-py3-none-any.whl"',
    ),
    (
        r'(name = "from-ssh"\n(?:[^\[].*\n|\n)*\[package.source\]\ntype = "git"\nurl = )"[^"]+"',
        r'\1"git@example.com:team/project.git"',
    ),
    (
        r'(name = "structlog"\n(?:(?!\[\[package\]\]).*\n)*)',
        r'\1[package.source]\ntype = "legacy"\nurl = "https://own.example.com/simple"\nreference = "own"\n\n',
    ),
]


def write_wheel(folder: Path, name: str) -> None:
    """Write a wheel without modules."""
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        metadata, normalized = f"{name}-1.0.dist-info", name.replace("_", "-")
        wheel.writestr(f"{metadata}/METADATA", f"Metadata-Version: 2.1\nName: {normalized}\nVersion: 1.0\n")
        wheel.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{metadata}/RECORD", "")


def replace(file: Path, pattern: str, replacement: str) -> None:
    """Replace the first match of a pattern in a file, which must have one."""
    text, number = re.subn(pattern, replacement, file.read_text(), count=1)
    assert number == 1, pattern
    file.write_text(text)


@pytest.fixture(scope="module")
def every_kind(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with dependencies of every kind, locked by Poetry."""
    folder = tmp_path_factory.mktemp("kinds")
    project, repository = folder / "project", folder / "repository"
    shutil.copytree(render(python_version=HOST_PYTHON), project)
    for name in ("plain", "editable", "editable-on-windows", "in-two-groups", "fast", "only-in-docs"):
        python_project(project / "libs" / name, name)
    for kind in ("cpu", "cuda"):
        python_project(project / "libs" / f"engine-{kind}", "engine", f"1.0+{kind}")
    for name in ("wheel_by_path", "wheel_by_url"):
        write_wheel(project / "libs", name)
    python_project(repository, "from-git")
    python_project(repository / "nested" / "from-ssh", "from-ssh")
    commit(repository, "two packages")
    pyproject = project / "pyproject.toml"
    replace(pyproject, re.escape(OWN_LINES), DEPENDENCIES)
    replace(pyproject, r"\[dependency-groups\]\n(?=dev)", GROUPS)
    replace(pyproject, r"\[tool.ruff\]\n", SOURCES.format(repository=repository))
    check_run("poetry", "lock", cwd=project)
    for pattern, replacement in REMOTE:
        replace(project / "poetry.lock", pattern, replacement)
    return project


# The path dependencies that production installs, by extras.
CHOSEN = {
    "": set[str](),
    "fast": {"libs/fast"},
    "CPU fast": {"libs/engine-cpu", "libs/fast"},
    "cuda": {"libs/engine-cuda"},
}


@pytest.mark.parametrize("extras", CHOSEN)
def test_export_of_every_kind_of_dependency_is_the_one_of_poetry(extras: str, every_kind: Path, tmp_path: Path) -> None:
    main = check_export(every_kind, tmp_path, extras)
    places = {place for place, *_ in main}
    assert {path for place in places if (path := place.rpartition(" @ ")[2]).startswith("libs/")} == CHOSEN[extras] | {
        "libs/plain",
        "libs/editable",
        "libs/editable-on-windows",
        "libs/in-two-groups",
        "libs/wheel_by_path-1.0-py3-none-any.whl",
    }
    assert "--extra-index-url https://own.example.com/simple" in places
    assert "wheel-by-url @ https://example.com/wheel_by_url-1.0-py3-none-any.whl" in places
    remote = {place.partition(" @ ")[0]: place for place in places if " @ git+" in place}
    assert remote.keys() == {"from-git", "from-ssh"}
    assert re.fullmatch(
        r"from-ssh @ git\+ssh://git@example\.com/team/project\.git@[0-9a-f]{40}#subdirectory=nested/from-ssh",
        remote["from-ssh"],
    )


# The engines that development installs, by extras. The extras `cpu` and `cuda` exclude each other.
ENGINES = {"fast": set[str](), "cpu fast": {"engine @ libs/engine-cpu"}, "cuda": {"engine @ libs/engine-cuda"}}


@pytest.mark.parametrize("extras", ENGINES)
def test_export_for_development_is_the_one_of_poetry(extras: str, every_kind: Path, tmp_path: Path) -> None:
    everything = check_export(every_kind, tmp_path, extras, everything=True)
    installed = {place: len(numbers) for place, _, numbers in everything}
    assert {place for place in installed if "engine" in place} == ENGINES[extras]
    assert installed["in-two-groups @ libs/in-two-groups"] == 4, "on Windows and macOS"
    assert installed["-e libs/editable"] == installed["-e libs/only-in-docs"] == len(ENVIRONMENTS)
    assert installed["-e libs/editable-on-windows"] == 2


def test_extras_that_exclude_each_other_are_refused_in_one_line(every_kind: Path, tmp_path: Path) -> None:
    message = "The extras cpu and cuda exclude each other: name one of them in EXTRAS.\n"
    assert export(every_kind, "--all", tmp_path / "all") == (1, message)
    assert export(every_kind, tmp_path / "main", EXTRAS="cuda,fast,CPU") == (1, message)
    assert list(tmp_path.iterdir()) == []
    assert export(every_kind, tmp_path / "main") == (0, ""), "production has no extras"


def test_extras_may_be_written_in_any_form(every_kind: Path, tmp_path: Path) -> None:
    for number, extras in enumerate(("cpu fast", " fast,CPU", "Fast;cpu")):
        assert export(every_kind, tmp_path / str(number), EXTRAS=extras) == (0, "")
    first, *others = (parse((tmp_path / str(number) / "main.local.txt").read_text()) for number in range(3))
    assert [entries == first for entries in others] == [True, True]


def test_export_is_what_uv_can_read(every_kind: Path, tmp_path: Path) -> None:
    """Use only the local packages, because the test cannot reach the other servers."""
    check_run("uv", "venv", "--quiet", f"--python={sys.executable}", tmp_path / "venv", cwd=tmp_path)
    for extras in ("", "cuda"):
        folder = tmp_path / f"own{extras}"
        assert export(every_kind, folder, EXTRAS=extras) == (0, "")
        assert export(every_kind, "--all", folder, EXTRAS=extras or "fast") == (0, "")
        for name in ("main.local.txt", "all.local.txt"):
            file = folder / name
            file.write_text(file.read_text().replace("/app/", f"{every_kind}/"))
            options = ("--dry-run", "--offline", "--no-deps", "--no-build-isolation", "--no-cache")
            check_run("uv", "pip", "install", *options, "-r", file, cwd=tmp_path, VIRTUAL_ENV=str(tmp_path / "venv"))


# --- whether the lock is fresh ----------------------------------------------------------------------------------------

CHANGES: list[dict[str, Any]] = [
    {},
    {"dependency-groups": {}},
    {"project": {"optional-dependencies": {"fast": ["uvloop"]}}},
    {"project": {"version": "9", "description": "ü"}},
    {"tool": {"poetry": {"dependencies": {"flask": {"source": "own"}}}}},
    {
        "tool": {
            "poetry": {"source": [{"name": "own", "url": "https://example.com"}], "group": {"dev": {"optional": True}}}
        }
    },
    {"project": {"requires-python": ">=3.11"}},
    {"project": {}, "dependency-groups": {}, "tool": {"poetry": {"dependencies": {"python": "^3.11"}, "extras": {}}}},
]


def merge(document: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return a document with a change. Tables are merged, but an empty table replaces the old one."""
    for key, value in change.items():
        document[key] = merge(document.get(key, {}), value) if isinstance(value, dict) and value else value
    return document


@pytest.mark.parametrize("change", CHANGES)
def test_content_hash_is_the_one_of_poetry(change: dict[str, Any], render: Render) -> None:
    pyproject = merge(tomllib.loads((render() / "pyproject.toml").read_text()), copy.deepcopy(change))
    assert export_lock.content_hash(pyproject) == Locker(Path("poetry.lock"), pyproject)._get_content_hash()


STALE_OR_UNKNOWN = {
    "changed": ("pyproject.toml", "structlog (>=26.1.0", "structlog (>=26.0.0", export_lock.STALE),
    "no lock": ("poetry.lock", None, "", export_lock.STALE),
    "format": ("poetry.lock", 'lock-version = "2.1"', 'lock-version = "2.2"', export_lock.STALE),
}


@pytest.mark.parametrize("case", STALE_OR_UNKNOWN)
@pytest.mark.parametrize("folders", [["out"], []], ids=["export", "check"])
def test_lock_that_does_not_fit_is_refused_in_one_line(
    case: str, folders: list[str], project: Render, tmp_path: Path
) -> None:
    folder = project()
    name, old, new, message = STALE_OR_UNKNOWN[case]
    file = folder / name
    if old is None:
        file.unlink()
    else:
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, 1))
    assert export(folder, *(tmp_path / name for name in folders)) == (1, f"{message}\n")
    assert not (tmp_path / "out").exists()


def test_check_alone_writes_nothing(project: Render) -> None:
    folder = project()
    before = {path.relative_to(folder) for path in folder.rglob("*")}
    assert export(folder) == (0, "")
    assert {path.relative_to(folder) for path in folder.rglob("*")} == before


def test_export_names_a_file_that_it_cannot_read(project: Render, tmp_path: Path) -> None:
    folder = project()
    lock = folder / "poetry.lock"
    lock.write_text("<<<<<<< ours\n" + lock.read_text())
    code, output = export(folder, tmp_path / "out")
    assert code == 1
    assert output.startswith("poetry.lock cannot be read: ")
    assert output.endswith(" Run 'make lock', then build again.\n")
    assert output.count("\n") == 1
