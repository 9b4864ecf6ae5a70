"""Reads how to serve the application of a project that moves in. It parses the code and runs none of it."""

import ast
import os.path
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from jinja2 import Environment
from jinja2.ext import Extension

# In bytes: larger files are skipped, and refusals.py refuses a pyproject.toml or a lock of that size.
LARGEST = 5_000_000
CLASSES = {"APIFlask": "flask", "FastAPI": "fastapi", "Flask": "flask", "OpenAPI": "flask"}
NO_CODE = {"docker", "docs", "node_modules", "site-packages", "test", "tests", "workshop"}
# A command that starts a server: the application is one of its arguments. The limits keep the time linear.
START = re.compile(
    r"\b(?:uvicorn|gunicorn|granian|hypercorn)\b.{0,300}?[\s\"']([A-Za-z_][\w.]{0,99}:[A-Za-z_]\w{0,99})(?![\w.:/])"
)
STARTED_IN = ("Dockerfile*", "Procfile", "*compose*.y*ml*", "*.sh*", "Makefile*", "README*")
# Variables that the images and the entrypoint set, or that the template's own files read.
SET = {"FLASK_APP", "GRACEFUL_TIMEOUT", "HOME", "HOST", "MAX_REQUESTS", "PATH", "PORT", "WEB_CONCURRENCY"}
# The usual modules and names of an application, the most specific first.
MODULES = ("asgi", "wsgi", "main", "app", "application", "server", "run", "api", "__init__")
NAMES = ("app", "application", "create_app()")
APT_INSTALL = re.compile(r"apt(?:-get)? install((?:\\\n|[ \t\w.+-])+)")
# As ast.unparse writes them: a route, and a variable with its default. Pydantic reads settings from variables.
ROUTE = re.compile(r"@app(?:lication)?\.(?:get|route)\('(/[^'<{]*)'")
VARIABLE = re.compile(r"(?:environ\[|getenv\(|environ\.get\()'(\w+)'(?:[\])](?! = )|(, ))")
SETTINGS = re.compile(r'^class \w+\((?=.*Settings).*\):\n(?:    """(?s:.*?)"""\n)?((?:    .*\n|\n)*)', re.MULTILINE)
FIELD = re.compile(r"^    (\w+): [^=\n]+(?: = Field\((?:\.\.\.|\)|(?!.*\bdefault)\w+=).*|( = ).*)?$", re.MULTILINE)


class Application(NamedTuple):
    """An application, and its name in the module of this path, such as `app` or `create_app()`."""

    framework: str
    path: PurePath
    name: str


def _is_readable(path: Path) -> bool:
    """Return whether a path is a regular file that is not too large. Reading a FIFO or a device may never end."""
    return path.is_file() and os.access(path, os.R_OK) and path.stat().st_size <= LARGEST


def _read(folder: PurePath, *names: str) -> str:
    """Return the texts of those of some files that can be read, after each other."""
    paths = [path for name in names for path in sorted(Path(folder).glob(name)) if _is_readable(path)]
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in paths)


def _toml(text: str) -> dict[str, Any]:
    """Return the content of a TOML document, or an empty table if it is invalid."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):  # nested too deeply
        return {}


def _table(content: object, *names: str) -> dict[str, Any]:
    """Return the table of a TOML document with this path of names, or an empty one."""
    for name in names:
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def _list(content: object) -> list[Any]:
    """Return an array of a TOML document, or an empty one for any other value."""
    return content if isinstance(content, list) else []


def _packages(lock: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the packages in a lock by their names."""
    return {str(_table(package).get("name")): _table(package) for package in _list(lock.get("package"))}


def _distribution(requirement: object) -> str:
    """Return the name of the distribution that a requirement asks for, normalized as PEP 503 says."""
    return re.sub(r"[-_.]+", "-", re.sub(r"[^\w.-].*", "", str(requirement))).lower()


def _dependencies(pyproject: Mapping[str, Any]) -> set[str]:
    """Return the normalized names of a project's dependencies, in any group."""
    poetry = _table(pyproject, "tool", "poetry")
    groups = [poetry, *_table(poetry, "group").values()]
    tables = [_table(group, key) for group in groups for key in ("dependencies", "dev-dependencies")]
    lists = [_table(pyproject, "project").get("dependencies"), *_table(pyproject, "dependency-groups").values()]
    return {_distribution(name) for entries in (*tables, *map(_list, lists)) for name in entries}


def _allows(versions: str, version: str) -> bool:
    """Return whether a range such as `>=3.11,<3.14`, `^3.9` or `~3.11 || ~3.12` allows a version such as `3.12`."""

    def holds(sign: str, number: int) -> bool:
        minor = int(version.removeprefix("3."))
        signs = {"<": minor < number, "<=": minor <= number, ">": minor > number, "!=": minor != number}
        return signs.get(sign, minor >= number if sign in {"^", ">=", "~="} else minor == number)

    parts = [re.findall(r"([!<=>^~]{0,3}) {0,9}3\.(\d+)", part) for part in re.split(r"\|\|?", versions)]
    return any(all(holds(sign, int(number)) for sign, number in clauses) for clauses in parts)


def _code(folder: PurePath) -> dict[PurePath, ast.Module]:
    """Return a project's Python files, parsed, by their paths in it; none of its tests and environments."""
    code: dict[PurePath, ast.Module] = {}
    for at, folders, files in os.walk(folder):
        kept = (name for name in sorted(folders) if name[0] != "." and name not in NO_CODE)
        folders[:] = [name for name in kept if not Path(at, name, "pyvenv.cfg").exists()]
        for path in (Path(at, name) for name in sorted(files) if name.endswith(".py")):
            try:
                code[path.relative_to(folder)] = ast.parse(path.read_bytes() if _is_readable(path) else b"")
            except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two if it is nested too deeply
                continue
    return code


def _text(module: ast.Module) -> str:
    """Return the code of a module in the form of `ast.unparse`, or an empty string if it is nested too deeply."""
    try:
        return f"{ast.unparse(module)}\n"
    except RecursionError:
        return ""


def _called(node: ast.AST | None) -> str:
    """Return the last part of the name that an expression calls, or an empty string."""
    function = node.func if isinstance(node, ast.Call) else None
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _applications(code: Mapping[PurePath, ast.Module]) -> Iterator[Application]:
    """Yield the applications that modules create, and the functions that create one without arguments."""
    makers = dict(CLASSES)
    for path, module in code.items():
        for function in (node for node in module.body if isinstance(node, ast.FunctionDef)):
            made = [CLASSES[name] for node in ast.walk(function) if (name := _called(node)) in CLASSES]
            if made and any(isinstance(node, ast.Return) and node.value for node in ast.walk(function)):
                makers[function.name] = made[0]
                if len(function.args.args) == len(function.args.defaults):
                    yield Application(made[0], path, f"{function.name}()")
    for path, module in code.items():
        if any(isinstance(node, ast.Expr) and _called(node.value) == "run" for node in module.body):
            continue  # an import would start a server
        for node in module.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            framework = makers.get(_called(getattr(node, "value", None)))
            if framework and isinstance(targets[0], ast.Name):
                yield Application(framework, path, targets[0].id)


def _root(folder: PurePath, path: PurePath, module: ast.Module, started: Sequence[str]) -> PurePath:
    """Return the folder that most imports of a module need, or else that of a start command, or that of its package."""
    imports = [node for node in ast.walk(module) if isinstance(node, ast.ImportFrom)]
    level = max((node.level for node in imports), default=0)
    names = {alias.name for node in ast.walk(module) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in imports if not node.level}
    roots = list(path.parents)[level:] or [PurePath()]
    modules = [one.partition(":")[0] for one in started]
    package = next((root for root in roots if not Path(folder, root, "__init__.py").exists()), roots[-1])

    def count(root: PurePath) -> int:
        at = {Path(folder, root, name.partition(".")[0]) for name in names}
        return sum(os.path.exists(f"{one}.py") or os.path.isdir(one) for one in at)  # of any length

    return max(roots, key=lambda root: (count(root), _dotted(path.relative_to(root)) in modules, root == package))


def _dotted(path: PurePath) -> str:
    """Return the name of the module in a file."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _served(applications: Iterator[Application], started: Sequence[str]) -> Application | None:
    """Return the application that the project's files start, or else the one with the most usual name."""

    def rank(application: Application) -> tuple[bool, bool, int, int, int]:
        name = f".{_dotted(application.path)}:{application.name.removesuffix('()')}"
        places = ((MODULES, application.path.stem), (NAMES, application.name))
        of_module, of_name = (known.index(one) if one in known else len(known) for known, one in places)
        is_started = any(name.endswith(f".{one}") for one in started)
        return (not is_started, application.name.endswith("()"), of_name, of_module, len(application.path.parts))

    return min(applications, key=rank, default=None)


def _compiled(lock: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the locked packages with wheels for certain versions of CPython, and the tags of all their wheels."""
    files = {name: package.get("files") for name, package in _packages(lock).items()}
    files |= _table(lock, "metadata", "files")  # where Poetry 1.1 wrote them
    tags = {name: re.findall(r"-(cp3\d+|none-any|abi3)", str(entries)) for name, entries in files.items()}
    return {name: found for name, found in tags.items() if "abi3" not in found and {*found} - {"none-any"}}


def _python(pins: str, fitting: Sequence[str], compiled: Mapping[str, list[str]], usual: str) -> str:
    """Return the Python of a project: the one that it pins, or the newest that all compiled wheels in its lock fit."""
    pinned = re.findall(r"^(?:FROM (?:\S*/)?python:)?(3\.\d+)", pins, re.MULTILINE)
    with_wheels = [v for v in fitting if all(f"cp{v.replace('.', '')}" in tags for tags in compiled.values())]
    known = [version for version in with_wheels or fitting[:1] if int(version[2:]) <= int(usual[2:])]
    # The dependencies of a project without a lock that pins an older Python are probably too old for the newest.
    choice = 0 if pinned and not compiled else -1
    return next((version for version in pinned if version in fitting), (known or fitting)[choice])


def read_project(folder: PurePath, pythons: Sequence[str], python: str) -> dict[str, Any]:
    """Return what the template wants to know about a project that moves in.

    Args:
        folder: The project.
        pythons: The versions of Python that are offered, the oldest first.
        python: The one that a new project has.

    Returns:
        Its `name`, `description` and `framework`; `app_import` as servers name it, or an empty string, its `file`, and
        the `root` of its imports; `python_version`, the `range` of Python, the offered versions `allowed` by it, and
        `allows_older`, whether it is too wide; `is_package`, whether Poetry can build it; `variables`; and for steps,
        `required` ones, `dependencies` with their locked versions, `compiled` ones, `routes`, and `system_packages`.
    """
    pyproject, code = _toml(_read(folder, "pyproject.toml")), _code(folder)
    poetry, text = _table(pyproject, "tool", "poetry"), "".join(map(_text, code.values()))
    about = poetry | _table(pyproject, "project")
    versions = str(about.get("requires-python", _table(poetry, "dependencies").get("python", "")))
    allowed = [version for version in pythons if _allows(versions, version)]
    lock = _toml(_read(folder, "poetry.lock"))
    compiled = _compiled(lock)
    in_lock = {name: str(package.get("version", "")) for name, package in _packages(lock).items()}
    dependencies = {name: in_lock.get(name, "") for name in sorted(_dependencies(pyproject))}
    pins = _read(folder, ".python-version", "Dockerfile*")
    started = START.findall(_read(folder, *STARTED_IN))
    served = _served(_applications(code), started)
    root = _root(folder, served.path, code[served.path], started) if served else PurePath("src")
    name = _distribution(about.get("name", ""))
    places = [Path(folder, at, name.replace("-", "_")) for at in ("", "src")]
    # A project without a backend is no package. The one of Poetry before 1.0 would install Poetry.
    backend = str(_table(pyproject, "build-system").get("build-backend", "poetry.masonry"))
    has_package = "packages" in poetry or any(os.path.isdir(at) or os.path.exists(f"{at}.py") for at in places)
    variables = VARIABLE.findall(text)
    for body in SETTINGS.findall(text):
        prefix = "".join(re.findall(r"\benv_prefix'?(?: = |=|: )'(\w*)'", body)[:1])
        variables += [((prefix + name).upper(), default) for name, default in FIELD.findall(body)]
    needed = {"POETRY_DYNAMIC_VERSIONING_BYPASS"} if "dynamic_versioning" in backend else set()
    # The paths of FastAPI's own routes, except for those that the code changes.
    generated = {"openapi_url": "/openapi.json", "docs_url": "/docs"} if "fastapi" in dependencies else {}
    routes = ROUTE.findall(text) + [path for option, path in generated.items() if option not in text]
    own = "".join(one for name in ("Dockerfile", "Dockerfile.old") if "RUNTIME_" not in (one := _read(folder, name)))
    installed = [word for words in APT_INSTALL.findall(own) for word in words.split()]
    return {
        "name": name,
        "app_import": f"{_dotted(served.path.relative_to(root))}:{served.name}" if served else "",
        "root": root.as_posix(),
        "file": served.path.as_posix() if served else "",
        "framework": served.framework if served else next((n for n in ("fastapi", "flask") if n in dependencies), ""),
        "python_version": _python(pins, allowed or pythons[:1], compiled, python),
        "is_package": has_package and "poetry.masonry" not in backend and poetry.get("package-mode") is not False,
        "description": str(about.get("description", "")),
        "range": versions,
        "allowed": allowed,
        "compiled": compiled,
        "allows_older": "||" in versions or _allows(versions, f"3.{int(pythons[0][2:]) - 1}"),
        "dependencies": dependencies,
        "routes": ["/health"] if "'/health'" in text and "prefix=" not in text else routes,
        "variables": sorted({name for name, _ in variables} - SET),
        "required": sorted(({name for name, default in variables if not default} | needed) - SET),
        "system_packages": [word for word in dict.fromkeys(installed) if word[0] not in "-\\"],
    }


class AdoptingExtension(Extension):
    """Adds `read_project` as a Jinja filter."""

    def __init__(self, environment: Environment) -> None:
        """Register the filter in Copier's environment."""
        super().__init__(environment)
        environment.filters["read_project"] = read_project
