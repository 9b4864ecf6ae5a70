"""The project that is measured: a working copy, and typical edits of it."""

from __future__ import annotations

import re
import shutil
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomlkit

if TYPE_CHECKING:
    from builder import Builder

CASES = ("cold", "no change", "source edit", "version bump", "linter edit", "new dependency")
OWN = "project"
PYPROJECT, LOCK = Path("pyproject.toml"), Path("poetry.lock")
UV = Path("workshop", "bench", "uv")
UV_PYPROJECT, UV_LOCK = UV / "pyproject.toml", UV / "uv.lock"
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".env", ".bench-*", ".check-*", "__pycache__", "dist"
)


def techniques(project: Path) -> dict[str, Path]:
    """Return the path of each technique's Dockerfile in a project, by the technique's name.

    A solution has the name of its lesson. `wheel.Dockerfile` adds `-wheel` to it. The lessons after
    07 build in the same way as 07.
    """
    solutions = sorted(project.glob("workshop/0[0-7]-*/solution/*Dockerfile"))
    lessons = {
        "-".join([path.parts[-3], *path.name.split(".")[:-1]]): path.relative_to(project)
        for path in solutions
    }
    return lessons | {"uv": UV / "Dockerfile", OWN: Path("Dockerfile")}


class Project:
    """A copy of the project, as it is and with another dependency."""

    def __init__(self, source: Path, folder: Path, dependency: str) -> None:
        """Copy the project.

        Args:
            source: The project.
            folder: Where the copy goes.
            dependency: The package that the case "new dependency" adds.
        """
        self.folder = folder
        self.dependency = dependency
        self.version = ""
        # Part of every edit, so that no cache of an earlier run contains it.
        self._unique = int(time.time())
        shutil.copytree(source, folder, ignore=LEFT_OUT)
        self._files: dict[Path, bytes] = {}
        self._files_with_dependency: dict[Path, bytes] = {}

    def dockerfile(self, technique: str) -> Path:
        """Return the Dockerfile of a technique."""
        return self.folder / techniques(self.folder)[technique]

    @property
    def app(self) -> Path:
        """Return the module that the case "source edit" edits."""
        return next(self.folder.glob("src/*/app.py"))

    def prepare(self, builder: Builder, packages: Iterable[str] = ()) -> None:
        """Lock the project as it is and with the new dependency, for Poetry and for uv.

        Args:
            builder: The builder.
            packages: Dependencies that replace those of the project.
        """
        builder.build_poetry(self)
        if packages:
            self._set(PYPROJECT, ["project", "dependencies"], list(packages))
            self._set(PYPROJECT, ["dependency-groups"], {})
            builder.poetry(self, "lock")
        self._files = self._locked(builder)
        builder.poetry(self, "add", "--lock", self.dependency)
        self._files_with_dependency = self._locked(builder)

    def _locked(self, builder: Builder) -> dict[Path, bytes]:
        """Return the files that edits change. uv's files are created from the project's."""
        builder.export(self, "uv", "lock", self.folder / UV)
        names = [PYPROJECT, LOCK, UV_PYPROJECT, UV_LOCK, self.app.relative_to(self.folder)]
        return {name: self.folder.joinpath(name).read_bytes() for name in names}

    def reset(self) -> None:
        """Undo every edit."""
        for name, content in self._files.items():
            self.folder.joinpath(name).write_bytes(content)
        self.version = str(self._read()["version"])

    def apply(self, case: str, number: int) -> None:
        """Make the edit of a case, in addition to the earlier ones.

        Args:
            case: One of `CASES`. The first two edit nothing.
            number: The round. Each round makes a different edit.
        """
        unique = self._unique + number
        if case == "source edit":
            with self.app.open("a", encoding="utf-8") as app:
                app.write(f"# {unique}\n")
        elif case == "version bump":
            self._set_version(f"0.1.{unique}")
        elif case == "linter edit":
            for name in (PYPROJECT, UV_PYPROJECT):
                self._set(name, ["tool", "ruff", "line-length"], 80 + unique % 40)
        elif case == "new dependency":
            for name in (PYPROJECT, LOCK, UV_PYPROJECT, UV_LOCK):
                self.folder.joinpath(name).write_bytes(self._files_with_dependency[name])
            self._set_version(f"0.2.{unique}")

    def versions(self) -> dict[str, str]:
        """Return the versions that the project's Dockerfile pins."""
        dockerfile = self.dockerfile(OWN).read_text(encoding="utf-8")
        pins = dict(re.findall(r"^ARG (\w+)=(.+)$", dockerfile, re.MULTILINE))
        return {
            "base": pins["PYTHON_IMAGE"],
            "poetry": pins["POETRY_VERSION"],
            "uv": pins["UV_VERSION"],
        }

    def _set_version(self, version: str) -> None:
        """Change the version of the project. It is in uv's lock too."""
        self.version = version
        for name in (PYPROJECT, UV_PYPROJECT):
            self._set(name, ["project", "version"], version)
        lock = self.folder / UV_LOCK
        own = re.compile(rf'(\nname = "{re.escape(self._read()["name"])}"\nversion = )"[^"]+"')
        lock.write_text(
            own.sub(rf'\g<1>"{version}"', lock.read_text(encoding="utf-8")), encoding="utf-8"
        )

    def _read(self) -> dict[str, str]:
        """Return the `[project]` table."""
        table: dict[str, str] = tomllib.loads(
            self.folder.joinpath(PYPROJECT).read_text(encoding="utf-8")
        )["project"]
        return table

    def _set(self, file: Path, keys: list[str], value: object) -> None:
        """Set one value of a TOML file, and leave its other lines unchanged."""
        path = self.folder / file
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
        table: Any = document
        for key in keys[:-1]:
            table = table.setdefault(key, {})
        table[keys[-1]] = value
        path.write_text(tomlkit.dumps(document), encoding="utf-8")
