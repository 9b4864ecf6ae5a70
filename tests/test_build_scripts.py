"""The scripts that run inside the image's build, called as they are: the export of the lock, and the trimming."""

import copy
import importlib.util
import itertools
import json
import struct
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from poetry.packages.locker import Locker

from tests.commands import ROOT, check_run, run
from tests.conftest import CHOICES, Render

SCRIPTS = ROOT / "template" / "docker"


def load(name: str) -> ModuleType:
    """Return a script of the build as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


export_lock = load("export_lock")
trim = load("trim")


def lines(requirements: str) -> set[tuple[str, frozenset[str], frozenset[tuple[str, str]]]]:
    """Return each requirement with its hashes and the environments that its marker admits, in any order."""
    found = set()
    for line in requirements.replace("\\\n", " ").splitlines():
        requirement, *hashes = line.split(" --hash=")
        parsed = Requirement(requirement)
        admitted = frozenset(
            (python, platform)
            for python, platform in itertools.product(CHOICES["python_version"], ["linux", "darwin", "win32"])
            if parsed.marker is None
            or parsed.marker.evaluate(
                {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": platform}
            )
        )
        found.add((f"{parsed.name}{parsed.specifier}", frozenset(map(str.strip, hashes)), admitted))
    return found


def export(project: Path, folder: Path, **env: str) -> tuple[int, str]:
    """Run the export in a project; return its exit code and what it printed."""
    result = run(sys.executable, SCRIPTS / "export_lock.py", folder, cwd=project, **env)
    return result.returncode, result.stdout


@pytest.mark.parametrize("framework", CHOICES["framework"])
def test_export_says_what_poetry_says(framework: str, render: Render, tmp_path: Path) -> None:
    project = render(framework=framework)
    assert export(project, tmp_path / "own", PATH="/usr/bin") == (0, ""), "it needs neither uv nor Poetry"
    for name, options in (("main", []), ("all", ["--all-groups"])):
        check_run("poetry", "export", *options, f"--output={tmp_path / name}", cwd=project)
        own = lines((tmp_path / "own" / f"{name}.txt").read_text())
        assert own == lines((tmp_path / name).read_text())
        assert len(own) > (10 if name == "main" else 30)
        assert all(hashes for _, hashes, _ in own)
    assert (tmp_path / "own" / "build.txt").read_text().startswith("poetry-core==")


def test_export_joins_the_markers_of_the_groups_that_are_installed() -> None:
    package: dict[str, Any] = {
        "name": "p",
        "version": "1",
        "files": [{"file": "p.whl", "hash": "sha256:00"}],
        "groups": ["a", "b", "c"],
    }
    package["markers"] = {"a": "sys_platform == 'win32'", "b": "python_version < '3.12' or os_name == 'nt'"}
    assert export_lock.requirement(package, {"a"}) == "p==1 ; (sys_platform == 'win32') --hash=sha256:00\n"
    both = "(sys_platform == 'win32') or (python_version < '3.12' or os_name == 'nt')"
    assert export_lock.requirement(package, {"a", "b"}) == f"p==1 ; {both} --hash=sha256:00\n"
    assert export_lock.requirement(package, {"a", "b", "c"}) == "p==1 --hash=sha256:00\n"
    assert export_lock.requirements({"package": [package]}, {"main"}) == ""


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
]


def merge(document: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return a document with a change: tables are merged, an empty one replaces."""
    for key, value in change.items():
        document[key] = merge(document.get(key, {}), value) if isinstance(value, dict) and value else value
    return document


@pytest.mark.parametrize("change", CHANGES)
def test_content_hash_is_the_one_of_poetry(change: dict[str, Any], render: Render) -> None:
    pyproject = merge(tomllib.loads((render() / "pyproject.toml").read_text()), copy.deepcopy(change))
    assert export_lock.content_hash(pyproject) == Locker(Path("poetry.lock"), pyproject)._get_content_hash()


FAKE_UVX = """#!{python}
import json, pathlib, sys
print("{said}", file=sys.stderr)
print("-e file:///app/libs/one\\ntwo==2.0 \\\\\\n    --hash=sha256:2\\nthree @ file:///app/libs/three ; extra == 'x'")
pathlib.Path("{log}").open("a").write(json.dumps(sys.argv[1:]) + "\\n")
sys.exit({code})
"""

UNKNOWN = {
    "stale": ('name = "structlog"', 'name = "structlog"', "structlog (>=26.1.0", "structlog (>=26.0.0"),
    "format": ('lock-version = "2.1"', 'lock-version = "2.2"', "", ""),
    "source": ("[package.dependencies]", '[package.source]\ntype = "git"\n\n[package.dependencies]', "", ""),
    "extras": ("[metadata]", '[extras]\nfast = ["uvloop"]\n\n[metadata]', "", ""),
    "no hash": ("files = [", "files = []\nothers = [", "", ""),
}


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("case", UNKNOWN)
def test_export_leaves_what_it_does_not_know_to_poetry(case: str, code: int, project: Render, tmp_path: Path) -> None:
    folder = project()
    in_lock, replaced_in_lock, in_pyproject, replaced_in_pyproject = UNKNOWN[case]
    for name, old, new in (
        ("poetry.lock", in_lock, replaced_in_lock),
        ("pyproject.toml", in_pyproject, replaced_in_pyproject),
    ):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))
    said = "pyproject.toml changed significantly since poetry.lock was last generated." if case == "stale" else ""
    log, uvx = tmp_path / "log", tmp_path / "uvx"
    uvx.write_text(FAKE_UVX.format(python=sys.executable, log=log, code=code, said=said))
    uvx.chmod(0o755)
    env = {
        "EXTRAS": "fast",
        "POETRY_VERSION": "2.4.0",
        "POETRY_PLUGIN_EXPORT_VERSION": "1.10.1",
        "POETRY_PLUGINS": "one two",
    }
    ended, output = export(folder, tmp_path / "out", PATH=str(tmp_path), **env)
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    tool = ["--from=poetry==2.4.0", "--with=poetry-plugin-export==1.10.1", "--with=one", "--with=two", "poetry"]
    main = [*tool, "export", "--extras", "fast"]
    if code == 0:
        assert (ended, output.strip()) == (0, f"{said}\n{said}".strip())
        assert calls == [main, [*tool, "export", "--all-groups", "--all-extras"]]
        exported = {file.name: file.read_text() for file in (tmp_path / "out").iterdir() if file.name != "build.txt"}
        three = "three @ file:///app/libs/three ; extra == 'x'\n"
        assert exported == {
            "main.txt": "two==2.0     --hash=sha256:2\n",
            "main.local.txt": "file:///app/libs/one\n" + three,
            "all.txt": "two==2.0     --hash=sha256:2\n",
            "all.local.txt": "-e file:///app/libs/one\n" + three,
        }
    else:
        reason = export_lock.STALE if case == "stale" else "Poetry could not export poetry.lock: see above."
        assert (ended, output.splitlines()[-1]) == (1, reason)
        assert calls == [main]


def test_export_names_a_file_that_it_cannot_read(project: Render, tmp_path: Path) -> None:
    folder = project()
    lock = folder / "poetry.lock"
    lock.write_text("<<<<<<< ours\n" + lock.read_text())
    code, output = export(folder, tmp_path / "out")
    assert code == 1
    assert output.startswith("poetry.lock cannot be read: ")
    assert output.endswith(" Run 'make lock', then build again.\n")
    assert output.count("\n") == 1


def elf(tail: bytes) -> bytes:
    """Return a 64-bit ELF file with one segment of 16 bytes, behind which there is a tail, with section headers."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 136, 0, 64, 56, 1, 64, 5, 4)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 120, 120, 120, 16, 16, 4096)
    return header + segment + b"sixteen bytes :)" + tail


def test_trim_cuts_debug_information_and_sources_in_c_only(tmp_path: Path) -> None:
    kept = {
        "module.py": b"print()",
        "module.pyi": b"...",
        "plain.so": elf(b"\0.text\0"),
        "script.so": b"GROUP ( libc.so.6 )",
        "tiny.so": b"",
        "data.txt": elf(b"\0.debug_info\0"),
    }
    cut = {"debug.so": elf(b"\0.debug_info\0"), "versioned.so.1.2": elf(b"x" * 999 + b"\0.debug_info\0")}
    for name, content in (kept | cut).items():
        (tmp_path / name).write_bytes(content)
    for suffix in ("c", "pyx", "pxd", "pxi"):
        (tmp_path / f"source.{suffix}").touch()
    (tmp_path / "folder.so").mkdir()
    (tmp_path / "link.so").symlink_to("debug.so")
    check_run(sys.executable, SCRIPTS / "trim.py", tmp_path, cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept.keys() | cut.keys() | {"folder.so", "link.so"}
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
    for name in cut:
        content = (tmp_path / name).read_bytes()
        assert content[64:] == elf(b"")[64:]
        assert struct.unpack_from("<Q", content, 40) == (0,)
        assert struct.unpack_from("<HH", content, 60) == (0, 0)
        assert content[:40] + content[48:60] == cut[name][:40] + cut[name][48:60]
