"""What the folder that Copier writes to holds already, and what is left to do there: functions of its files."""

import re
import runpy
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment
from jinja2.exceptions import UndefinedError
from jinja2.ext import Extension

TEMPLATE = Path(__file__).parent.parent / "template"
# Where the build decides whether a lock is stale: here, the same code decides.
EXPORT_LOCK = TEMPLATE / "docker" / "export_lock.py"
COMPOSE_FILES = {"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"}
# Where Copier renders the old and the new version in an update, with the answers of a project that exists.
COPIES = ("copier._main.old_copy.", "copier._main.new_copy.")


def _read(folder: PurePath, name: object) -> str:
    """Return the text of a file, or an empty string where there is none, or no text in it."""
    path = Path(folder, str(name))
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""


def _table(content: object, *names: str) -> dict[str, Any]:
    """Return the table below a TOML document that has these names, one below the other, or an empty one."""
    for name in names:
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def _pyproject(folder: PurePath) -> dict[str, Any]:
    """Return what a project's pyproject.toml says.

    Raises:
        UndefinedError: It cannot be read; the message is one sentence.
    """
    try:
        return tomllib.loads(Path(folder, "pyproject.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UndefinedError(f"pyproject.toml must be readable as TOML, but is not: {error}.") from error


def _normalized(requirement: object) -> str:
    """Return the distribution that a PEP 508 requirement asks for, normalized as PEP 503 says."""
    name = re.match(r"[\w.-]*", requirement) if isinstance(requirement, str) else None
    return re.sub(r"[-_.]+", "-", name[0] if name else "").lower()


def is_moving_in(folder: PurePath, answers_file: PurePath) -> bool:
    """Return whether a folder holds a Python project that this template did not make.

    Args:
        folder: Where Copier writes to.
        answers_file: Where Copier keeps the answers, from there.
    """
    return Path(folder, "pyproject.toml").is_file() and not Path(folder, answers_file).is_file()


def _recorded_name(folder: PurePath, answers_file: PurePath) -> str:
    """Return the name of a project that exists, or an empty string."""
    recorded = re.search(r"^app_name: ['\"]?([a-z0-9-]+)", _read(folder, answers_file), re.MULTILINE)
    return recorded[1] if recorded else ""


def own_name(folder: PurePath, answers_file: PurePath, default: str) -> str:
    """Return the name of the project that moves in.

    Args:
        folder: Where Copier writes to.
        answers_file: Where Copier keeps the answers, from there.
        default: The name of a project that is new, or has none.

    Returns:
        The name that is recorded, or that in `[project]` or `[tool.poetry]`, normalized as PEP 503 says.

    Raises:
        UndefinedError: The pyproject.toml cannot be read; the message is one sentence.
    """
    if not is_moving_in(folder, answers_file):
        return _recorded_name(folder, answers_file) or default
    pyproject = _pyproject(folder)
    tables = (_table(pyproject, "project"), _table(pyproject, "tool", "poetry"))
    return next((name for table in tables if (name := _normalized(table.get("name")))), default)


def refuse_foreign_answers(folder: PurePath, answers_file: PurePath) -> str:
    """Refuse to write over what another template has recorded.

    Returns:
        An empty string.

    Raises:
        UndefinedError: The answers are another template's; the message is one sentence.
    """
    recorded = _read(folder, answers_file)
    if recorded and not re.search(r"^app_name:", recorded, re.MULTILINE):
        raise UndefinedError(
            f"{answers_file} must hold this template's answers, and holds another's: "
            "add --answers-file .copier-answers.docker.yml, to each update too."
        )
    return ""


def app_rename_error(app_name: object, folder: PurePath, answers_file: PurePath) -> str:
    """Say that an answer would rename a project, which would leave behind what its team wrote in the old package.

    Args:
        app_name: The answer.
        folder: Where Copier writes to.
        answers_file: Where Copier keeps the answers, from there.

    Returns:
        One sentence, or an empty string.
    """
    recorded = _recorded_name(folder, answers_file)
    if recorded in ("", app_name):
        return ""
    return (
        f"app_name must stay {recorded!r} in a project that exists, not become {str(app_name)!r}: "
        "its code would stay behind in the old package."
    )


def is_compared(folder: PurePath) -> bool:
    """Return whether Copier only renders a version to compare it, with the answers that a project has recorded."""
    return any(part.startswith(COPIES) for part in folder.parts)


def is_settled(app_name: object, folder: PurePath, answers_file: PurePath) -> bool:
    """Return whether a project has this name already: it keeps it, whatever names a newer version reserves."""
    if is_compared(folder):
        return True
    return app_name != "" and _recorded_name(folder, answers_file) == app_name


def unsettled(answers: Mapping[str, object], folder: PurePath, answers_file: PurePath) -> dict[str, object]:
    """Return the answers that are still to be checked: all but a name that the project has already.

    Args:
        answers: Answers that were given, by question.
        folder: Where Copier writes to.
        answers_file: Where Copier keeps the answers, from there.

    Raises:
        UndefinedError: The project has another name; the message is one sentence.
    """
    if "app_name" in answers and is_settled(answers["app_name"], folder, answers_file):
        return {question: answer for question, answer in answers.items() if question != "app_name"}
    if "app_name" in answers and (error := app_rename_error(answers["app_name"], folder, answers_file)):
        raise UndefinedError(error)
    return dict(answers)


def template_files(package_name: str) -> list[str]:
    """Return the files that the template has for some answers, as they are called in a project."""
    paths = (str(path.relative_to(TEMPLATE)) for path in TEMPLATE.rglob("*") if path.is_file())
    names = {re.sub(r"{%.*?%}", "", path).removesuffix(".jinja") for path in paths}
    return sorted(name.replace("{{ package_name }}", package_name) for name in names if "_copier_conf" not in name)


def own_files(folder: PurePath, answers_file: PurePath, package_name: str) -> list[str]:
    """Return the files of a project that moves in which the template has too: they stay the project's.

    Args:
        folder: Where Copier writes to.
        answers_file: Where Copier keeps the answers, from there.
        package_name: The package, in `src/`.

    Returns:
        Paths from the folder, sorted; none where no project moves in. A Compose file of any name keeps the template's
        out, and the tests of the starter stay away: the project has its own.
    """
    if not is_moving_in(folder, answers_file):
        return []
    own = {name for name in template_files(package_name) if Path(folder, name).exists()}
    if any(Path(folder, name).exists() for name in COMPOSE_FILES):
        own |= {"docker-compose.yml", "docker-compose.override.yml"}
    return sorted(own | {"tests"})


def _is_fresh(pyproject: str, lock: str) -> bool:
    """Return whether a lock fits a pyproject.toml; it does not fit one that cannot be read."""
    try:
        content_hash = runpy.run_path(str(EXPORT_LOCK))["content_hash"](tomllib.loads(pyproject))
    except tomllib.TOMLDecodeError:
        return False
    return f'content-hash = "{content_hash}"' in lock


def advice(folder: PurePath, package_name: str) -> list[str]:
    """Return what is left to do after an update, a sentence each.

    Args:
        folder: The project.
        package_name: The package, in `src/`.
    """
    sentences = []
    conflict = re.compile(r"^<<<<<<< .*\n((?s:.*?))^=======\n((?s:.*?))^>>>>>>> .*\n", re.MULTILINE)
    marked = [name for name in template_files(package_name) if conflict.search(_read(folder, name))]
    if marked:
        sentences.append(f"Conflicts: choose between the lines that are marked in {', '.join(marked)}.")
    text, lock = _read(folder, "pyproject.toml"), _read(folder, "poetry.lock")
    if not all(_is_fresh(conflict.sub(side, text), lock) for side in (r"\1", r"\2")):
        sentences.append("pyproject.toml asks for other packages than poetry.lock holds: run make lock.")
    if not Path(folder, "src", package_name, "__init__.py").exists():
        sentences.append(f"The package is not in src/{package_name}: what changed in its modules did not come.")
    return sentences


def _missing(pyproject: str, folder: PurePath, group: str = "") -> str:
    """Return the requirements of a group, or of the service, that a project does not have, with spaces between."""
    theirs, ours = _pyproject(folder), tomllib.loads(pyproject)
    tables = [_table(theirs, "tool", "poetry"), *_table(theirs, "tool", "poetry", "group").values()]
    named = {_normalized(name) for table in tables for name in _table(table, "dependencies")}
    lists = [_table(theirs, "project").get("dependencies", []), *_table(theirs, "dependency-groups").values()]
    named |= {_normalized(entry) for entries in lists for entry in entries}
    wanted: list[str] = ours["dependency-groups"][group] if group else ours["project"]["dependencies"]
    return " ".join(re.sub(r"[ ()]", "", entry) for entry in wanted if _normalized(entry) not in named)


def _oldest_python(specifier: object) -> int:
    """Return the minor version of the oldest Python 3 that a specifier such as `>=3.11` or `^3.9` names, or 0."""
    found = re.search(r"3\.(\d+)", str(specifier))
    return int(found[1]) if found else 0


def moving_in_steps(pyproject: str, folder: PurePath, package_name: str, own: Sequence[str]) -> list[str]:
    """Return what is to be done by hand in a project that moved in, a line each.

    Args:
        pyproject: The text of the template's pyproject.toml, for the same answers.
        folder: The project.
        package_name: The package, in `src/`.
        own: What `own_files` returned when it moved in.

    Raises:
        UndefinedError: The pyproject.toml cannot be read; the message is one sentence.
    """
    if "pyproject.toml" not in own:
        return []
    theirs, ours = _pyproject(folder), tomllib.loads(pyproject)
    has_make = "Makefile" not in own
    steps = []
    legacy = _table(theirs, "tool", "poetry", "dependencies").get("python")
    python = _table(theirs, "project").get("requires-python") or legacy
    wanted = ours["project"]["requires-python"]
    if _oldest_python(python) < _oldest_python(wanted):
        steps.append(f'pyproject.toml: requires-python = "{wanted}", or less of it; it is {python or "not set"}')
    if _table(theirs, "tool", "poetry").get("package-mode") is False:
        steps.append("pyproject.toml: remove package-mode = false, and name the package; the images install it")
    if f"src/{package_name}/__init__.py" not in own:
        steps.append(f"move your package to src/{package_name}, and say so in pyproject.toml; the images install it")
    for group in ("", "dev"):
        if missing := _missing(pyproject, folder, group):
            of_make, of_poetry = (f" GROUP={group}", f" --group {group}") if group else ("", "")
            quoted = " ".join(f'"{entry}"' for entry in missing.split())
            steps.append(f'make add PKG="{missing}"{of_make}' if has_make else f"poetry add --lock{of_poetry} {quoted}")
    if not _is_fresh(_read(folder, "pyproject.toml"), _read(folder, "poetry.lock")):
        steps.append("make lock" if has_make else "poetry lock")
    return steps


class DestinationExtension(Extension):
    """Makes the functions available as Jinja filters."""

    def __init__(self, environment: Environment) -> None:
        """Register the filters in Copier's environment."""
        super().__init__(environment)
        filters = (
            own_name,
            refuse_foreign_answers,
            app_rename_error,
            is_compared,
            is_settled,
            unsettled,
            own_files,
            advice,
            moving_in_steps,
        )
        environment.filters |= {function.__name__: function for function in filters}
