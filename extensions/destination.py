"""What a project holds already, where Copier writes into a folder that has one: pure functions of its files."""

import re
import runpy
import tomllib
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment
from jinja2.exceptions import UndefinedError
from jinja2.ext import Extension

# Where the build decides whether a lock is stale: here, the same code decides.
EXPORT_LOCK = Path(__file__).parent.parent / "template" / "docker" / "export_lock.py"
ANSWERS_FILE = ".copier-answers.yml"


def _read(folder: PurePath, name: str) -> str:
    """Return the text of a file, or an empty string where there is none."""
    path = Path(folder, name)
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _pyproject(text: str) -> dict[str, Any]:
    """Return what a pyproject.toml says, or nothing where it cannot be read: Poetry will say why."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _normalized(requirement: str) -> str:
    """Return the distribution that a PEP 508 requirement asks for, normalized as PEP 503 says."""
    name = re.match(r"[\w.-]*", requirement)
    return re.sub(r"[-_.]+", "-", name[0] if name else "").lower()


def is_moving_in(folder: PurePath) -> bool:
    """Return whether a folder holds a Python project that was not made by a template of Copier's."""
    return bool(_read(folder, "pyproject.toml")) and not _read(folder, ANSWERS_FILE)


def own_name(folder: PurePath, default: str) -> str:
    """Return the name of the project that moves in.

    Args:
        folder: Where Copier writes to.
        default: The name where none moves in, or it has none.

    Returns:
        The name in `[project]` or `[tool.poetry]`, normalized as PEP 503 says.
    """
    if not is_moving_in(folder):
        return default
    pyproject = _pyproject(_read(folder, "pyproject.toml"))
    poetry = pyproject.get("tool", {}).get("poetry", {})
    return _normalized(pyproject.get("project", {}).get("name") or poetry.get("name") or default)


def app_rename_error(app_name: object, folder: PurePath) -> str:
    """Say that an answer would rename a project, which would leave behind what its team wrote in the old package.

    Args:
        app_name: The answer.
        folder: Where Copier writes to.

    Returns:
        One sentence, or an empty string.
    """
    recorded = re.search(r"^app_name: ['\"]?([a-z0-9-]+)", _read(folder, ANSWERS_FILE), re.MULTILINE)
    if recorded is None or recorded[1] == str(app_name):
        return ""
    return (
        f"app_name must stay {recorded[1]!r} in a project that exists, not become {str(app_name)!r}: "
        "its code would stay behind in the old package."
    )


def refuse_rename(app_name: object, folder: PurePath) -> str:
    """Refuse an answer that was given instead of asked for, and would rename a project.

    Args:
        app_name: The answer, or an empty string where none was given.
        folder: Where Copier writes to.

    Returns:
        An empty string.

    Raises:
        UndefinedError: The project has another name; the message is one sentence.
    """
    if app_name and (error := app_rename_error(app_name, folder)):
        raise UndefinedError(error)
    return ""


def lock_advice(folder: PurePath) -> str:
    """Say what to do about a lock that does not fit pyproject.toml.

    Args:
        folder: The project.

    Returns:
        One sentence, or an empty string where the lock fits.
    """
    text, lock = _read(folder, "pyproject.toml"), _read(folder, "poetry.lock")
    if re.search(r"^(<<<<<<<|>>>>>>>) ", text, re.MULTILINE):
        return "pyproject.toml has conflicts: choose between the lines that they mark, then run make lock."
    content_hash = runpy.run_path(str(EXPORT_LOCK))["content_hash"](_pyproject(text))
    if f'content-hash = "{content_hash}"' in lock:
        return ""
    return "pyproject.toml asks for other packages than poetry.lock holds: run make lock."


def missing_requirements(pyproject: str, folder: PurePath, group: str = "") -> str:
    """Return what a project of the template requires and a project that moves in does not.

    Args:
        pyproject: The text of the template's pyproject.toml.
        folder: The project that moves in.
        group: A dependency group, or an empty string for the service's own dependencies.

    Returns:
        Requirements as `make add` takes them, such as `flask>=3.1.3,<4.0.0`, with spaces between.
    """
    theirs = _pyproject(_read(folder, "pyproject.toml"))
    poetry = theirs.get("tool", {}).get("poetry", {})
    groups = poetry.get("group", {}).values()
    named = {_normalized(name) for table in (poetry, *groups) for name in table.get("dependencies", {})}
    listed = [theirs.get("project", {}).get("dependencies", []), *theirs.get("dependency-groups", {}).values()]
    named |= {_normalized(entry) for entries in listed for entry in entries if isinstance(entry, str)}
    ours = tomllib.loads(pyproject)
    wanted: list[str] = ours["dependency-groups"][group] if group else ours["project"]["dependencies"]
    missing = [entry for entry in wanted if _normalized(entry) not in named]
    return " ".join(re.sub(r"[ ()]", "", entry) for entry in missing)


class DestinationExtension(Extension):
    """Makes the functions available as Jinja filters."""

    def __init__(self, environment: Environment) -> None:
        """Register the filters in Copier's environment."""
        super().__init__(environment)
        environment.filters |= {
            function.__name__: function
            for function in (is_moving_in, own_name, app_rename_error, refuse_rename, lock_advice, missing_requirements)
        }
