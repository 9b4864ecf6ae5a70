"""Reads `copier.yml` and the versions that it pins, for the tools and the tests.

`python -m tools.questionnaire` prints each supported Python version with its base image, one per line.
"""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent


class _Loader(yaml.SafeLoader):
    """Reads a file that includes others, as Copier does.

    Source: https://copier.readthedocs.io/en/stable/configuring/#include-other-yaml-files
    """


_Loader.add_constructor("!include", lambda _, node: _documents(str(node.value)))


def _documents(name: str) -> dict[str, Any]:
    """Return the values in all documents of a file and of the files that it includes, by name and in their order."""
    values: dict[str, Any] = {}
    for document in yaml.load_all((ROOT / name).read_text(encoding="utf-8"), Loader=_Loader):
        values |= document
    return values


def read() -> dict[str, Any]:
    """Return the settings, the questions and the computed values, by name."""
    return _documents("copier.yml")


def versions() -> dict[str, str]:
    """Return the versions that projects pin, by name."""
    return _documents("data/versions.yml")


def questions() -> dict[str, dict[str, Any]]:
    """Return the questions for a new project, by name and in their order."""
    named = {name: question for name, question in read().items() if not name.startswith("_")}
    return {name: asked for name, asked in named.items() if asked.get("when", True) is True and asked.get("ask", True)}


def choices() -> dict[str, list[str]]:
    """Return the choices by question."""
    found: dict[str, list[str]] = read()["choices"]["default"]
    return found


def stacks() -> list[tuple[str, str]]:
    """Return each framework with each of its servers, the default server first."""
    servers: dict[str, list[str]] = read()["servers"]["default"]
    return [(framework, server) for framework in servers for server in servers[framework]]


def default_answers() -> dict[str, Any]:
    """Return the default answers of a new project."""
    framework = read()["default_framework"]["default"]
    (server, *_) = read()["servers"]["default"][framework]
    computed = {"framework": framework, "server": server}
    computed |= {"python_version": versions()["python"], "poetry_version": versions()["poetry"]}
    answers = {name: computed.get(name, question["default"]) for name, question in questions().items()}
    for name, answer in answers.items():
        if "{{" in str(answer):  # the default of a new project is the last string of the expression
            answers[name] = re.findall(r"'([^']*)'", answer)[-1]
    return answers


def base_image(python_version: str = "") -> str:
    """Return the base image of a Python version such as `3.11`, or of the default version."""
    pins = versions()
    return f"python:{python_version or pins['python']}-slim-{pins['debian']}"


if __name__ == "__main__":
    for version in choices()["python_version"]:
        print(version, base_image(version))
