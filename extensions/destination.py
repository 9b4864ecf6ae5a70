"""Functions of the files in the folder that Copier writes to: its project's name, its own files and manual steps."""

import operator
import re
import runpy
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment
from jinja2.exceptions import UndefinedError
from jinja2.ext import Extension

TEMPLATE = Path(__file__).parent.parent / "template"
# The script that checks in the build whether a lock is stale. The same code checks it here.
EXPORT_LOCK = TEMPLATE / "docker" / "export_lock.py"
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
# Files at the top level that configure a tool, and no modules of a package.
TOOL_FILES = {"build.py", "conftest.py", "gunicorn.conf.py", "noxfile.py", "setup.py", "tasks.py"}
# Creates an application.
APPLICATION = re.compile(r"\b(?:FastAPI|Flask)\(")
FROM_SRC = ', from = "src"'
# For the tests of the template, which a project that moves in does not get.
TEST_CLIENT = "httpx2"
# The minor version of the oldest Python 3 that the template's dependencies are locked for.
OLDEST_PYTHON = min(int(path.stem.rpartition("-3.")[2]) for path in TEMPLATE.parent.glob("locks/*.lock"))
# The operators of version specifiers, of PEP 440 and of Poetry, applied to minor versions.
OPERATORS = {
    "": operator.eq,
    "==": operator.eq,
    "~": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.ge,
    ">=": operator.ge,
    "^": operator.ge,
    "~=": operator.ge,
}
# The markers that an update writes around lines that both sides changed. Git's diff3 style adds the original lines.
CONFLICT = re.compile(
    r"^<<<<<<< before updating\n((?s:.*?))(?:^\|{7} .*\n(?s:.*?))?^=======\n((?s:.*?))^>>>>>>> after updating\n",
    re.MULTILINE,
)


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
    if not recorded and Path(folder, "docker", EXPORT_LOCK.name).is_file():
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


def that_exist(names: Sequence[str], folder: PurePath) -> list[str]:
    """Return the files that exist in a folder."""
    return [name for name in names if Path(folder, name).exists()]


def _is_fresh(pyproject: str, lock: str) -> bool:
    """Return whether a lock matches a pyproject.toml. It does not match an invalid one."""
    try:
        content_hash = runpy.run_path(str(EXPORT_LOCK))["content_hash"](tomllib.loads(pyproject))
    except (tomllib.TOMLDecodeError, AttributeError, TypeError):
        return False
    return f'content-hash = "{content_hash}"' in lock


def advice(folder: PurePath, package_name: str, own: Sequence[str]) -> list[str]:
    """Return the steps that are left after an update, one sentence each.

    Args:
        folder: The project.
        package_name: The package, in `src/`.
        own: The project's own files, if it moved in: see `own_files` and `moving_in_steps`.
    """
    sentences = []
    marked = [name for name in template_files(package_name) if CONFLICT.search(_read(folder, name))]
    if marked:
        sentences.append(f"Conflicts: choose between the lines that are marked in {', '.join(marked)}.")
    rejected = that_exist([f"{name}.rej" for name in template_files(package_name)], folder)
    if rejected:
        sentences.append(f"Rejected: apply {', '.join(rejected)} by hand, then delete what you have applied.")
    text, lock = _read(folder, "pyproject.toml"), _read(folder, "poetry.lock")
    sides = [CONFLICT.sub(side, text) for side in (r"\1", r"\2")]
    if "pyproject.toml" not in own and not all(_is_fresh(side, lock) for side in sides):
        sentences.append("poetry.lock does not match pyproject.toml: run make lock.")
    if not Path(folder, "src", package_name, "__init__.py").exists():
        sentences.append(f"The package is not in src/{package_name}: its modules were not updated.")
    return sentences


def _missing(pyproject: str, folder: PurePath, group: str = "") -> str:
    """Return the requirements of a group, or of the service, that a project does not have, separated by spaces."""
    theirs, ours = _pyproject(folder), tomllib.loads(pyproject)
    poetry = _table(theirs, "tool", "poetry")
    tables = [_table(poetry, "dependencies"), _table(poetry, "dev-dependencies")]
    tables += [_table(table, "dependencies") for table in _table(poetry, "group").values()]
    named = {_normalized(name) for table in tables for name in table} | {TEST_CLIENT}
    lists = [_table(theirs, "project").get("dependencies", []), *_table(theirs, "dependency-groups").values()]
    named |= {_normalized(entry) for entries in lists for entry in entries}
    wanted: list[str] = ours["dependency-groups"][group] if group else ours["project"]["dependencies"]
    return " ".join(re.sub(r"[ ()]", "", entry) for entry in wanted if _normalized(entry) not in named)


def _package_steps(
    content: Mapping[str, Any], code: Mapping[str, str], folder: PurePath, package_name: str, own: Sequence[str]
) -> list[str]:
    """Return the step that lets the images install every package of a project, if one is left.

    Args:
        content: The project's pyproject.toml.
        code: The project's Python files: see `_code`.
        folder: The project.
        package_name: The package of the template's modules, in `src/`.
        own: The project's own files.
    """
    if Path(folder, "src", "__init__.py").exists():
        return ["rename your package src: the template keeps packages in a folder of that name"]
    ours = f'{{ include = "{package_name}", from = "src" }}'
    # The modules beside an application that is a module at the top level.
    beside = [name for name in code if "/" not in name and name not in TOOL_FILES]
    has_application = any(APPLICATION.search(code[name]) for name in beside)
    modules = [f'{{ include = "{name}" }}' for name in beside] if has_application else []
    steps = []
    moves = Path(folder, package_name, "__init__.py").exists()
    if moves:
        move = f"cp -R {package_name}/. src/{package_name}/ && git rm -rq {package_name}"
        steps.append(f"move your package to src/{package_name}, and say so in pyproject.toml: {move}")
    declared = _table(content, "tool", "poetry").get("packages")
    if isinstance(declared, list):
        entries = modules if moves else [ours, *modules]
        missing = [entry for entry in entries if tomllib.loads(f"entry = {entry}")["entry"] not in declared]
        if missing:
            steps.append(
                f"pyproject.toml: add {', '.join(missing)} to packages in [tool.poetry]; the images install it"
            )
        return steps
    entries = [ours, *modules]
    if f"src/{package_name}/__init__.py" not in own:  # else Poetry finds it, because it has the name of the project
        found = (path.parent for at in ("*", "src/*") for path in Path(folder).glob(f"{at}/__init__.py"))
        others = {path.relative_to(folder) for path in found}
        others -= {Path("tests"), Path(package_name), Path("src", package_name)}
        entries += [f'{{ include = "{at.name}"{FROM_SRC if at.parent.name else ""} }}' for at in sorted(others)]
    if len(entries) > 1:
        packages = ", ".join(entries)
        steps.append(f"pyproject.toml: in [tool.poetry], set packages = [{packages}]; the images install them")
    return steps


def _code(folder: PurePath) -> dict[str, str]:
    """Return the text of each Python file of a project, without its tests, by its path."""
    paths = [path.relative_to(folder) for path in Path(folder).rglob("*.py")]
    skipped = {"tests", "docker", "workshop", ".venv", "site-packages"}
    return {path.as_posix(): _read(folder, path) for path in sorted(paths) if not skipped & set(path.parts)}


def _application_steps(project_code: Mapping[str, str], folder: PurePath, package_name: str) -> list[str]:
    """Return the steps that let the image run the application of a project, and check its health.

    Args:
        project_code: The project's Python files: see `_code`.
        folder: The project.
        package_name: The package of the template's modules, in `src/`.
    """
    code = dict(project_code)
    app = f"src/{package_name}/app.py"
    moved = f"{package_name}/app.py"  # replaces the template's when its package moves
    others = [path for path, text in code.items() if APPLICATION.search(text) and path not in (app, moved)]
    steps = []
    if others and APPLICATION.search(code.get(app, "")):
        has_factory = any("def create_app" in code[path] for path in others)
        if "def create_app" not in code[app]:
            wanted = "app"
        else:
            wanted = "create_app" if has_factory else 'app, and "def create_app(): return app"'
        steps.append(f"{app}: replace it with an import of your application, as {wanted}; it is in {', '.join(others)}")
        del code[app]
    code.pop(f"src/{package_name}/access_log.py", None)  # names the path, and does not respond to it
    has_path = any(re.search(r"[\"']/health[\"']", text) for text in code.values())
    if not has_path and re.search(r"^ENV HEALTH_PATH=/health$", _read(folder, "Dockerfile"), re.MULTILINE):
        steps.append("let your application respond to /health with 200, or change HEALTH_PATH in the Dockerfile")
    return steps


def _has_service(folder: PurePath, name: str) -> bool:
    """Return whether a Compose file of a project has a service of this name."""
    texts = (_read(path.parent, path.name) for path in Path(folder).glob("*compose*.y*ml"))
    return any(re.search(rf"^ +{name}:", text, re.MULTILINE) for text in texts)


def is_in_repository(folder: PurePath) -> bool:
    """Return whether a folder is in a git repository."""
    return any(Path(parent, ".git").exists() for parent in (Path(folder).resolve(), *Path(folder).resolve().parents))


def _allows(specifier: object, minor: int) -> bool:
    """Return whether a specifier such as `>=3.11,<3.14` or `^3.9` allows a minor version of Python 3."""
    clauses = re.findall(r"([!<=>^~]*)\s*3\.(\d+)", str(specifier))
    return all(OPERATORS[sign](minor, int(number)) for sign, number in clauses if sign in OPERATORS)


def moving_in_steps(pyproject: str, folder: PurePath, package_name: str, own: Sequence[str]) -> list[str]:
    """Return the manual steps for a project that moved in, one line each.

    Args:
        pyproject: The text of the template's pyproject.toml, for the same answers.
        folder: The project.
        package_name: The package, in `src/`.
        own: The files that `own_files` returned when it moved in.

    Raises:
        UndefinedError: The pyproject.toml cannot be read; the message is one sentence.
    """
    if "pyproject.toml" not in own:
        return []
    theirs, ours = _pyproject(folder), tomllib.loads(pyproject)
    has_make = not {"Makefile", "docker-compose.yml"} & set(own)
    steps = []
    if "Dockerfile" in own and " AS development" not in _read(folder, "Dockerfile"):
        again = "git reset --hard && git clean -fd && git rm Dockerfile, commit, and copy again"
        steps.append(f"Dockerfile: yours has no stage development. To use the template's, undo this first: {again}")
    if "Makefile" in own and not re.search(r"^up:", _read(folder, "Makefile"), re.MULTILINE):
        steps.append("Makefile: yours has no target up; add the targets of a new project's Makefile that you want")
    legacy = _table(theirs, "tool", "poetry", "dependencies").get("python")
    python = _table(theirs, "project").get("requires-python") or legacy
    wanted = ours["project"]["requires-python"]
    image = int(wanted.partition("3.")[2].partition(",")[0])
    if not python or not _allows(python, image) or _allows(python, OLDEST_PYTHON - 1):
        key = "requires-python" if "project" in theirs else "python in [tool.poetry.dependencies]"
        steps.append(f'pyproject.toml: set {key} = "{wanted}", as in the image; it is {python or "not set"}')
    if _table(theirs, "tool", "poetry").get("package-mode") is False:
        steps.append("pyproject.toml: remove package-mode = false, and name the package; the images install it")
    code = _code(folder)
    steps += _package_steps(theirs, code, folder, package_name, own)
    steps += _application_steps(code, folder, package_name)
    settings = f"src/{package_name}/settings.py"
    if settings in own and "class Settings" not in _read(folder, settings):
        steps.append(f"{settings}: add the class Settings of a new project to yours; logs.py and the server use it")
    for group in ("", "dev"):
        if missing := _missing(pyproject, folder, group):
            of_make, of_poetry = (f" GROUP={group}", f" --group {group}") if group else ("", "")
            quoted = " ".join(f'"{entry}"' for entry in missing.split())
            steps.append(f'make add PKG="{missing}"{of_make}' if has_make else f"poetry add --lock{of_poetry} {quoted}")
    if not _is_fresh(_read(folder, "pyproject.toml"), _read(folder, "poetry.lock")):
        steps.append("make lock" if has_make else "poetry lock")
    if "docker-compose.yml" in own and not _has_service(folder, "poetry"):
        steps.append("add the services of the template's Compose files to yours: the Makefile uses them")
    return steps


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
            advice,
            moving_in_steps,
            is_in_repository,
            shlex.quote,
        )
        environment.filters |= {function.__name__: function for function in filters}
