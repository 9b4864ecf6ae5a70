"""The contents of `copier.yml`, for the tools and the tests: its questions, their choices and the versions it pins.

`python -m tools.questionnaire` prints each supported Python version with its base image, one a line.
"""

import re
from pathlib import Path
from typing import Any

import yaml

COPIER_YML = Path(__file__).parent.parent / "copier.yml"


def read() -> dict[str, Any]:
    """Return the settings and the questions, computed values included, by name."""
    content: dict[str, Any] = yaml.safe_load(COPIER_YML.read_text(encoding="utf-8"))
    return content


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


def default_python() -> str:
    """Return the Python version that a new project has by default."""
    version: str = read()["default_python"]["default"]
    return version


def default_answers() -> dict[str, Any]:
    """Return the answers of a new project that takes every default."""
    answers = {name: question["default"] for name, question in questions().items()}
    for name, answer in answers.items():
        if "{{" in str(answer):  # the default of a new project is the last string of the expression
            answers[name] = re.findall(r"'([^']*)'", answer)[-1]
    (server, *_) = read()["servers"]["default"][answers["framework"]]
    return answers | {"server": server, "python_version": default_python()}


def base_image(python_version: str = "") -> str:
    """Return the base image of a Python version such as `3.11`, or of the one that a project has by default."""
    codename = read()["pins"]["default"]["debian"]
    return f"python:{python_version or default_python()}-slim-{codename}"


if __name__ == "__main__":
    for version in choices()["python_version"]:
        print(version, base_image(version))
