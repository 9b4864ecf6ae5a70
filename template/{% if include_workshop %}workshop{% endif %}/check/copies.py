"""A copy of the project for a check, and typical edits of it."""

from __future__ import annotations

import re
import shutil
import time
import tomllib
from pathlib import Path

from engine import EngineError, docker, normalized
from facts import FRAMEWORK, INDEX, PACKAGE, PROJECT

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".env", ".check-*", "__pycache__", "dist", "node_modules"
)
APP = PROJECT / "src" / PACKAGE / "app.py"
SLOW_PATH = "/workshop/slow"
RESPONSE = (
    "flask import Response"
    if FRAMEWORK == "flask"
    else "starlette.responses import StreamingResponse as Response"
)
ROUTER = "routes" if FRAMEWORK == "flask" else "app"
SLOW_ROUTE = f'''

@{ROUTER}.get("{SLOW_PATH}")
def slow():
    import time
    from {RESPONSE}

    def parts():
        yield "started, "
        time.sleep(1)
        yield "done"

    return Response(parts())
'''


class Copy:
    """A copy of the project. Each edit is new, so no cache contains its result."""

    def __init__(self, folder: Path) -> None:
        """Copy the project to a new folder, and add the slow path.

        Raises:
            EngineError: The project has another application.
        """
        self.folder = folder
        self._unique = time.time_ns() // 10**6
        if not APP.exists() or f"\n{ROUTER} = " not in APP.read_text(encoding="utf-8"):
            raise EngineError(
                f"The workshop needs the service of a new project, with `{ROUTER}` in {APP}."
            )
        shutil.copytree(PROJECT, folder, ignore=LEFT_OUT, symlinks=True)
        self.test.parent.mkdir(exist_ok=True)
        self.test.touch()
        with self.app.open("a", encoding="utf-8") as app:
            app.write(SLOW_ROUTE)

    @property
    def app(self) -> Path:
        """Return the module with the routes."""
        return self.folder / APP.relative_to(PROJECT)

    @property
    def test(self) -> Path:
        """Return a module of tests, which no image needs."""
        return self.folder / "tests" / "test_edited.py"

    def plant(self, marker: str) -> None:
        """Write files that belong in no image, with a marker in each."""
        for name in (".env", ".git/config", ".venv/lib/module.py"):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"# {marker}\n", encoding="utf-8")

    def edit_test(self) -> None:
        """Append a comment to a module of tests."""
        self._unique += 1
        with self.test.open("a", encoding="utf-8") as edited:
            edited.write(f"# edit {self._unique}\n")

    def edit_source(self) -> str:
        """Add a path to the application, and return it."""
        self._unique += 1
        path = f"/workshop/edit-{self._unique}"
        with self.app.open("a", encoding="utf-8") as edited:
            edited.write(
                f'\n\n@{ROUTER}.get("{path}")\ndef edit_{self._unique}():\n    return "edited"\n'
            )
        return path

    def bump_version(self) -> str:
        """Change the version and a linter setting in pyproject.toml, and return the version."""
        self._unique += 1
        version = f"0.1.{self._unique}"
        path = self.folder / "pyproject.toml"
        text = re.sub(
            r'(?m)^version = ".*"',
            f'version = "{version}"',
            path.read_text(encoding="utf-8"),
            count=1,
        )
        text = re.sub(
            r"(?m)^line-length = \d+", f"line-length = {80 + self._unique % 40}", text, count=1
        )
        path.write_text(text, encoding="utf-8")
        return version

    def add_dependency(self) -> None:
        """Replace pyproject.toml and poetry.lock with those that have one dependency more."""
        for name in ("pyproject.toml", "poetry.lock"):
            docker("cp", f"{INDEX}:/new-dependency/{name}", self.folder / name)

    def locked(self) -> dict[str, str]:
        """Return the version of each locked package of the main group."""
        lock = tomllib.loads((self.folder / "poetry.lock").read_text(encoding="utf-8"))
        return {
            normalized(package["name"]): package["version"]
            for package in lock["package"]
            if "main" in package.get("groups", ["main"])
        }
