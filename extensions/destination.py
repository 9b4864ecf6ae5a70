"""Functions of the folder that Copier writes to: its project's name and own files, and refusals."""

import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment
from jinja2.exceptions import UndefinedError
from jinja2.ext import Extension

TEMPLATE = Path(__file__).parent.parent / "template"
# The images and the Makefile need these files. If a project removes its own, it gets the template's. Each has a line by
# which the template's is recognized.
NEEDED = {
    ".dockerignore": r"^\*\*/\.venv$",
    "Dockerfile": r" AS production$",
    "Makefile": r"^locker: ",
    "docker-compose.override.yml": r"^  poetry:",
    "docker-compose.yml": r"^  production: ",
    "entrypoint.sh": r"^count_cpus",
    "gunicorn.conf.py": r"^wsgi_app = os",
}
# Files that replace one of the template's for their tool: if a project has one, the template's file stays out.
SAME_FILES = [
    ({"compose.yaml", "compose.yml", "docker-compose.yaml"}, {"docker-compose.yml", "docker-compose.override.yml"}),
    ({"GNUmakefile", "makefile"}, {"Makefile"}),
    (
        # https://docs.renovatebot.com/configuration-options/
        {f"{folder}renovate.{suffix}" for folder in ("", ".github/", ".gitlab/") for suffix in ("json", "json5")}
        | {".renovaterc", ".renovaterc.json", ".renovaterc.json5"},
        {".github/renovate.json", ".gitlab/renovate.json"},
    ),
]
# The folders in which Copier renders the old and the new version during an update, with the recorded answers.
COPIES = ("copier._main.old_copy.", "copier._main.new_copy.")
# Questions whose answers every version of this template has recorded.
RECORDED = ("app_name", "poetry_version", "user_uid")


def _read(folder: PurePath, name: object) -> str:
    """Return the text of a file, or an empty string if there is no such file."""
    path = Path(folder, str(name))
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""


def _table(content: object, *names: str) -> dict[str, Any]:
    """Return the table of a TOML document with this path of names, or an empty one."""
    for name in names:
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def _pyproject(folder: PurePath) -> dict[str, Any]:
    """Return the content of a project's pyproject.toml.

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
    """Return whether a folder contains a Python project that was not created from this template.

    Args:
        folder: Where Copier writes to.
        answers_file: Where Copier keeps the answers, from there.
    """
    return Path(folder, "pyproject.toml").is_file() and not Path(folder, answers_file).is_file()


def has_own_code(folder: PurePath, answers_file: PurePath) -> bool:
    """Return whether a project moves in, or has moved in."""
    moved_in = re.search(r"^own_files:\n(?:- .*\n)*- pyproject.toml$", _read(folder, answers_file), re.MULTILINE)
    return bool(moved_in) or is_moving_in(folder, answers_file)


def _recorded_name(folder: PurePath, answers_file: PurePath) -> str:
    """Return the recorded name of a project, or an empty string."""
    recorded = re.search(r"^app_name: ['\"]?([a-z0-9-]+)", _read(folder, answers_file), re.MULTILINE)
    return recorded[1] if recorded else ""


def own_name(folder: PurePath, answers_file: PurePath, default: str) -> str:
    """Return the name of the project that moves in.

    Args:
        folder: Where Copier writes to.
        answers_file: Where Copier keeps the answers, from there.
        default: The name of a new project.

    Returns:
        The recorded name, or the name in `[project]` or `[tool.poetry]`, normalized as PEP 503 says, or the default.

    Raises:
        UndefinedError: The pyproject.toml cannot be read; the message is one sentence.
    """
    if not is_moving_in(folder, answers_file):
        return _recorded_name(folder, answers_file) or default
    pyproject = _pyproject(folder)
    tables = (_table(pyproject, "project"), _table(pyproject, "tool", "poetry"))
    return next((name for table in tables if (name := _normalized(table.get("name")))), default)


def refuse_unfit_folder(folder: PurePath, answers_file: PurePath, unattended: object) -> str:
    """Refuse a folder in which Copier would overwrite files, or stop halfway.

    Args:
        folder: Where Copier writes to.
        answers_file: Where Copier keeps the answers, from there.
        unattended: Whether Copier cannot ask what to do with existing files.

    Returns:
        An empty string.

    Raises:
        UndefinedError: The answers belong to another template, or are missing, or pyproject.toml cannot be read, or a
            new project would overwrite files; the message is one sentence.
    """
    recorded = _read(folder, answers_file)
    if recorded and not all(re.search(rf"^{question}:", recorded, re.MULTILINE) for question in RECORDED):
        raise UndefinedError(
            f"{answers_file} must hold this template's answers, and holds another's: "
            "add --answers-file .copier-answers.docker.yml, to each update too."
        )
    if not recorded and Path(folder, "docker", "export_lock.py").is_file():
        raise UndefinedError(
            f"{answers_file} must hold the answers of this project, and is missing: "
            "restore it from git, or say what it is called with --answers-file."
        )
    _pyproject(folder)
    in_the_way = [] if recorded or is_moving_in(folder, answers_file) else that_exist(template_files(""), folder)
    if unattended and in_the_way:
        raise UndefinedError(
            f"{', '.join(in_the_way)} must not be there yet: choose another folder, or add --overwrite to replace them."
        )
    return ""


def app_rename_error(app_name: object, folder: PurePath, answers_file: PurePath) -> str:
    """Refuse an answer that renames a project, because its code would stay in the old package.

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
    """Return whether Copier renders a version only to compare it, with the recorded answers of a project."""
    return any(part.startswith(COPIES) for part in folder.parts)


def is_settled(app_name: object, folder: PurePath, answers_file: PurePath) -> bool:
    """Return whether a project already has this name. It keeps the name even if a newer version reserves it."""
    if is_compared(folder):
        return True
    return app_name != "" and _recorded_name(folder, answers_file) == app_name


def unsettled(answers: Mapping[str, object], folder: PurePath, answers_file: PurePath) -> dict[str, object]:
    """Return the answers to check: all except a name that the project already has.

    Args:
        answers: The given answers, by question.
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
    """Return the files that the template has for any answers, by their names in a project."""
    paths = (str(path.relative_to(TEMPLATE)) for path in TEMPLATE.rglob("*") if path.is_file())
    names = {re.sub(r"{%.*?%}", "", path).removesuffix(".jinja") for path in paths if "_copier_conf" not in path}
    names = {name.replace("{{ ci }}", ci) for name in names for ci in ("github", "gitlab")}
    return sorted(name.replace("{{ package_name }}", package_name) for name in names)


def own_files(folder: PurePath, answers_file: PurePath, package_name: str) -> list[str]:
    """Return the files of a project that moves in which the template has too: they stay the project's.

    Args:
        folder: Where Copier writes to.
        answers_file: Where Copier keeps the answers, from there.
        package_name: The package, in `src/`.

    Returns:
        Paths from the folder, sorted; none where no project moves in. The template's files that one of `SAME_FILES`
        replaces are among them, and so is `tests`: the project has tests of its own.
    """
    if not is_moving_in(folder, answers_file):
        return []
    own = {name for name in template_files(package_name) if Path(folder, name).exists()}
    paths = [*Path(folder).iterdir(), *Path(folder).glob(".git*/*")]
    there = {path.relative_to(folder).as_posix() for path in paths}
    for others, ours in SAME_FILES:
        if found := (others | ours) & there:
            own |= found | ours
    return sorted(own | {"tests"})


def kept_files(own: Sequence[str], folder: PurePath) -> list[str]:
    """Return the own files that a project keeps. A file in `NEEDED` is not kept if it no longer exists.

    Args:
        own: The files that `own_files` returned when it moved in.
        folder: Where Copier writes to.
    """
    if is_compared(folder):
        return list(own)
    kept = {name for name in own if name not in NEEDED or Path(folder, name).exists()}
    for others, ours in SAME_FILES:
        if that_exist(sorted((others | ours) & set(own)), folder):
            kept |= ours & set(own)
        elif ours & NEEDED.keys():
            kept -= others | ours
    return sorted(kept)


def files_in_the_way(own: Sequence[str], folder: PurePath) -> list[str]:
    """Return the own files in the place of a file in `NEEDED`, under its name or another one that its tool reads."""
    instead = {name for others, ours in SAME_FILES if ours & NEEDED.keys() for name in others}
    present = that_exist([name for name in own if name in {*NEEDED, *instead}], folder)
    return [name for name in present if not re.search(NEEDED.get(name, "(?!)"), _read(folder, name), re.MULTILINE)]


def that_exist(names: Sequence[str], folder: PurePath) -> list[str]:
    """Return the files that exist in a folder."""
    return [name for name in names if Path(folder, name).exists()]


def import_root(app_import: str, project: Mapping[str, Any], folder: PurePath) -> str:
    """Return the folder of a project that its application is imported from.

    Args:
        app_import: The answer, such as `shop.api.main:app`.
        project: The result of `read_project`.
        folder: The project.
    """
    if not project or not app_import:
        return ""
    if app_import == project["app_import"]:
        return str(project["root"])
    name = app_import.partition(":")[0].replace(".", "/")
    found = [path for end in (".py", "/__init__.py") for path in Path(folder).glob(f"**/{name}{end}")]
    relative = sorted((path.relative_to(folder).as_posix() for path in found), key=len)
    return relative[0].rpartition(name)[0].rstrip("/") or "." if relative else ""


def refuse_contradiction(answers: Mapping[str, Any], project: Mapping[str, Any], root: str, moves_in: bool) -> str:
    """Refuse answers that a project that moves in contradicts.

    Args:
        answers: The given answers, by question.
        project: What `read_project` found in it, or an empty mapping if the project is new.
        root: The folder that the given `app_import` is imported from, or an empty string if it has no such module.
        moves_in: Whether the project moves in now. Later, other answers are given to change it.

    Returns:
        An empty string.

    Raises:
        UndefinedError: An answer does not fit; the message is one sentence.
    """
    framework, python, app = (answers.get(name) for name in ("framework", "python_version", "app_import"))
    used = {"flask", "fastapi"} & {*project.get("dependencies", ()), project.get("framework")}
    allowed = project.get("allowed", [])
    error = ""
    if app and not project:
        error = "app_import must not be given for a new project, which gets its own application."
    elif app and not root:
        error = f"app_import must name a module of this project, not {app!r}: it has no {app.partition(':')[0]}."
    elif moves_in and framework and used and framework not in used:
        error = f"framework must be {project['framework']}, which this project uses, not {framework!r}."
    elif moves_in and python and allowed and python not in allowed:
        error = f"python_version must be one of {', '.join(allowed)}: pyproject.toml has {project['range']!r}."
    if error:
        raise UndefinedError(error)
    return ""


def is_in_repository(folder: PurePath) -> bool:
    """Return whether a folder is in a git repository."""
    return any(Path(parent, ".git").exists() for parent in (Path(folder).resolve(), *Path(folder).resolve().parents))


class DestinationExtension(Extension):
    """Makes the functions available as Jinja filters."""

    def __init__(self, environment: Environment) -> None:
        """Register the filters in Copier's environment."""
        super().__init__(environment)
        filters = (
            own_name,
            refuse_unfit_folder,
            app_rename_error,
            is_compared,
            is_settled,
            unsettled,
            own_files,
            that_exist,
            has_own_code,
            is_moving_in,
            import_root,
            files_in_the_way,
            kept_files,
            template_files,
            refuse_contradiction,
            is_in_repository,
            shlex.quote,
        )
        environment.filters |= {function.__name__: function for function in filters}
