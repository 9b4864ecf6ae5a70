"""Rendered projects: the types of the fixtures that make them, and functions that read them."""

import json
import os
import shutil
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

import yaml

from tests.support.commands import ROOT, check_run
from tests.support.template import QUESTIONS


class Render(Protocol):
    """Renders a project once for the same answers. Tests must not change the project."""

    def __call__(self, **answers: str | int) -> Path:
        """Return the folder of the project."""


# Returns the virtual environment of a framework and a server.
Environment = Callable[[str, str], Path]

# Parse the text of a file with this suffix, and raise an exception if it is not valid.
PARSERS: dict[str, Callable[[str], object]] = {
    ".toml": tomllib.loads,
    ".lock": tomllib.loads,
    ".json": json.loads,
    ".yml": yaml.safe_load,
    ".yaml": yaml.safe_load,
    ".py": lambda text: compile(text, "rendered", "exec"),
}


def check_answers(answers: Mapping[str, str | int]) -> None:
    """Reject answers to unknown questions, which Copier would ignore or reject with another message.

    Raises:
        KeyError: A name is not a question of `copier.yml`.
    """
    if unknown := sorted(set(answers) - set(QUESTIONS)):
        raise KeyError(f"not questions of copier.yml: {', '.join(unknown)}")


def texts(project: Path) -> dict[str, str]:
    """Return the text of each file by its path in the project."""
    files = (path for path in project.rglob("*") if path.is_file())
    return {str(path.relative_to(project)): path.read_bytes().decode("utf-8") for path in files}


def in_environment(environment: Path) -> dict[str, str]:
    """Return the variables that put an environment's tools first on the PATH."""
    return {"PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(environment)}


# Parts of the checkout that Copier does not read.
NOT_THE_TEMPLATE = ("benchmarks", "docs", "tests", "poetry.lock")


def copy_checkout(folder: Path, without: Collection[str] = ()) -> None:
    """Copy the files of the checkout into a folder, with uncommitted changes and without files that git ignores.

    Args:
        folder: The folder.
        without: Files and folders at the top of the checkout that are left out.
    """
    listed = check_run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "-z", cwd=ROOT)
    for file in filter(None, listed.split("\0")):
        if (ROOT / file).exists() and Path(file).parts[0] not in without:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, folder / file)
