"""Reads the folder that Copier writes to: what a project there has recorded, and which files stay its own.

`conf` is Copier's `_copier_conf`. Its attributes are documented in
https://copier.readthedocs.io/en/stable/creating/#_copier_conf. Only `COPIES` below is not.
"""

import os.path
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment
from jinja2.ext import Extension

LARGEST = 5_000_000  # bytes, as in adopting.py
TEMPLATE = Path(__file__).parent.parent / "template"
# The names of the folders in which Copier renders the old and the new version during an update. Both are rendered with
# recorded answers and for a folder that has no project, and Copier does not say so in another way.
COPIES = ("copier._main.old_copy.", "copier._main.new_copy.")
# A name in the answers file. Without quotes, some names are another value in YAML: https://yaml.org/type/bool.html
RECORDED_NAME = r"""^app_name: (?!(?:null|true|false|yes|no|on|off)\b(?!-))(['"]?)([a-z][a-z0-9-]*)\1 *(?:#.*)?$"""
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
# Source for Renovate: https://docs.renovatebot.com/configuration-options/
COMPOSE = {"compose.yaml", "compose.yml", "docker-compose.yaml"}
RENOVATE = {f"{folder}renovate.{end}" for folder in ("", ".github/", ".gitlab/") for end in ("json", "json5")}
SAME_FILES = (
    (COMPOSE, {"docker-compose.yml", "docker-compose.override.yml"}),
    ({"GNUmakefile", "makefile"}, {"Makefile"}),
    (
        RENOVATE | {".renovaterc", ".renovaterc.json", ".renovaterc.json5"},
        {".github/renovate.json", ".gitlab/renovate.json"},
    ),
)


def _read(folder: PurePath, name: object) -> str:
    """Return the text of a regular file that is not too large, or an empty string if there is no such file."""
    path = Path(folder, str(name))
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() and path.stat().st_size <= LARGEST else ""


def template_files(package_name: str) -> list[str]:
    """Return the files that the template has for any answers, by their names in a project with this package."""
    paths = (str(path.relative_to(TEMPLATE)) for path in TEMPLATE.rglob("*") if path.is_file())
    names = {re.sub(r"{%.*?%}", "", path).removesuffix(".jinja") for path in paths if "_copier_conf" not in path}
    names = {name.replace("{{ ci }}", ci) for name in names for ci in ("github", "gitlab")}
    return sorted(name.replace("{{ package_name }}", package_name) for name in names)


def that_exist(names: Iterable[str], folder: PurePath) -> list[str]:
    """Return the files that exist in a folder. A link exists even if its target does not."""
    return [name for name in names if os.path.lexists(Path(folder, name))]


def read_destination(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts about the folder that Copier writes to.

    Args:
        conf: Copier's settings.

    Returns:
        The names of the `recorded` answers; the recorded `app_name`, empty if it is missing or cannot be a name; the
        template's files that are `existing` before a new project is made; and whether Copier `compares` versions there,
        the folder `is_in_repository`, a project `moves_in`, and it `has_own_code` because it moves in now or has moved
        in before.
    """
    folder = Path(conf["dst_path"])
    recorded = _read(folder, conf["answers_file"])
    name = re.search(RECORDED_NAME, recorded, re.MULTILINE)
    moves_in = not recorded and (folder / "pyproject.toml").is_file()
    moved_in = re.search(r"^own_files:\n(?:- .*\n)*- pyproject.toml$", recorded, re.MULTILINE)
    absolute = folder.resolve()
    return {
        "recorded": re.findall(r"^([a-z]\w*):", recorded, re.MULTILINE),
        "app_name": name[2] if name else "",
        "existing": [] if recorded or moves_in else that_exist(template_files(""), folder),
        "compares": any(part.startswith(COPIES) for part in folder.parts),
        "is_in_repository": any((parent / ".git").exists() for parent in (absolute, *absolute.parents)),
        "moves_in": moves_in,
        "has_own_code": moves_in or moved_in is not None,
    }


def own_files(folder: PurePath, package_name: str) -> list[str]:
    """Return the files of a project that moves in which the template has too. They stay the project's.

    Args:
        folder: The project.
        package_name: The package, in `src/`.

    Returns:
        Paths from the folder, sorted. The template's files that one of `SAME_FILES` replaces are among them, and so is
        `tests`, because the project has its own tests.
    """
    own, folder = {*that_exist(template_files(package_name), folder)}, Path(folder)  # Copier gives a pure path
    listed = {path.relative_to(folder).as_posix() for path in (*folder.iterdir(), *folder.glob(".git*/*"))}
    for others, ours in SAME_FILES:
        if found := (others | ours) & listed:
            own |= found | ours
    return sorted(own | {"tests"})


def kept_files(own: Sequence[str], folder: PurePath) -> list[str]:
    """Return the own files that a project keeps. A file in `NEEDED` is not kept if it no longer exists.

    Args:
        own: The files that `own_files` returned when the project moved in.
        folder: The project.
    """
    kept = {name for name in own if name not in NEEDED} | {*that_exist(own, folder)}
    for others, ours in SAME_FILES:
        if that_exist((others | ours) & {*own}, folder):
            kept |= ours & {*own}
        elif ours & NEEDED.keys():
            kept -= others | ours
    return sorted(kept)


def files_in_the_way(own: Sequence[str], folder: PurePath) -> list[str]:
    """Return the own files in the place of a file in `NEEDED`, under its name or another one that its tool reads."""
    instead = {name for others, ours in SAME_FILES if ours & NEEDED.keys() for name in others}
    present = that_exist([name for name in own if name in {*NEEDED, *instead}], folder)
    return [name for name in present if not re.search(NEEDED.get(name, "(?!)"), _read(folder, name), re.MULTILINE)]


def import_root(app_import: str, project: Mapping[str, Any], folder: PurePath) -> str:
    """Return the folder that an application is imported from, or an empty string if the project has no such module.

    Args:
        app_import: The answer, such as `shop.api.main:app`.
        project: The result of `read_project`, or an empty mapping for a new project.
        folder: The project.
    """
    if app_import == project.get("app_import"):
        return str(project["root"])
    name = app_import.partition(":")[0].replace(".", "/")
    files = (
        [file for end in (".py", "/__init__.py") for file in Path(folder).glob(f"**/{name}{end}")] if project else []
    )
    nearest = min((file.relative_to(folder).as_posix() for file in files), key=len, default="")
    return nearest.rpartition(name)[0].rstrip("/") or "." if nearest else ""


class DestinationExtension(Extension):
    """Makes the functions available as Jinja filters."""

    def __init__(self, environment: Environment) -> None:
        """Register the filters in Copier's environment."""
        super().__init__(environment)
        functions = (read_destination, template_files, that_exist, own_files, kept_files, files_in_the_way)
        environment.filters |= {function.__name__: function for function in (*functions, import_root, shlex.quote)}
