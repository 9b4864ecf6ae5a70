"""Renew and check the locks that the template ships, one for each framework, server and Python version.

`make locks` runs this. It needs Docker: Poetry locks a project only with the Python version that the project requires.
Each project is locked in a container, with its own `make lock`. The script also writes the reserved service names to
`data/reserved_names.json`, and checks each lock with the oldest, the pinned and the newest Poetry.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from copier import run_copy

from extensions import answers
from tools import questionnaire

ROOT = Path(__file__).parent.parent
RESERVED_NAMES = ROOT / "data" / "reserved_names.json"
OLDEST_POETRY = f"poetry~={answers.OLDEST_POETRY}.0"
NEWEST_POETRY = "poetry@latest"
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
IMPORT_NAMES = "import importlib.metadata as m, json; print(json.dumps(list(m.packages_distributions())))"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command with the tools of `.venv` first on the PATH.

    Args:
        command: The program and its arguments.
        cwd: The folder to run it in.

    Returns:
        The standard output of the command.

    Raises:
        SystemExit: The command failed; its output is the message.
    """
    tools = Path(sys.executable).parent
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "POETRY_VIRTUALENVS_CREATE": "false"}
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def shipped_lock(framework: str, server: str, python_version: str) -> Path:
    """Return the path of the template's lock for a framework, a server and a Python version."""
    return ROOT / "locks" / f"{framework}-{server}-{python_version}.lock"


def render(destination: Path, **answers: str | bool) -> Path:
    """Render the checkout, including uncommitted changes, with the given answers. Return the new folder."""
    run_copy(str(ROOT), destination, data=answers, defaults=True, unsafe=True, vcs_ref="HEAD", quiet=True)
    return destination


def import_names(project: Path) -> set[str]:
    """Install all locked dependencies of a project, and return the names of the modules that they provide.

    The project must require the Python version that runs this script.
    """
    run(sys.executable, "docker/export_lock.py", "--all", "requirements", cwd=project)
    run("uv", "venv", "--quiet", "--python", sys.executable, "environment", cwd=project)
    python = project / "environment" / "bin" / "python"
    run("uv", "pip", "install", "--quiet", "--python", python, "-r", "requirements/all.txt", cwd=project)
    return set(json.loads(run(python, "-c", IMPORT_NAMES, cwd=project)))


def package_names(lock: Path) -> set[str]:
    """Return the names of the packages in a lock, written as module names."""
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    return {package["name"].lower().replace("-", "_") for package in packages}


def lock(project: Path) -> None:
    """Remove the lock of a project, and run its `make lock`."""
    (project / "poetry.lock").unlink()
    try:
        run("make", "lock", cwd=project)
    finally:
        run("make", "clean", cwd=project)


def renew(folder: Path, sets: list[tuple[str, str, str]]) -> None:
    """Resolve each set of dependencies again, and write its lock and the reserved names."""
    reserved: set[str] = set()
    for framework, server, python_version in sets:
        name = f"{framework}-{server}-{python_version}"
        shipped_lock(framework, server, python_version).touch()  # must exist, because the template includes it
        project = render(folder / name, framework=framework, server=server, python_version=python_version)
        print(f"locking {name}", flush=True)
        lock(project)
        shutil.copyfile(project / "poetry.lock", shipped_lock(framework, server, python_version))
        reserved |= package_names(project / "poetry.lock")
        if python_version == THIS_PYTHON:
            reserved |= import_names(project)
    names = sorted(name for name in reserved if name.isidentifier() and not name.startswith("_"))
    RESERVED_NAMES.write_text(json.dumps(names, indent=2) + "\n", encoding="utf-8")


def check(folder: Path, sets: list[tuple[str, str, str]]) -> None:
    """Check the shipped locks in rendered projects, with the oldest, the pinned and the newest Poetry."""
    for framework, server, python_version in sets:
        name = f"{framework}-{server}-{python_version}"
        project = render(folder / name, framework=framework, server=server, python_version=python_version)
        print(f"checking {name}", flush=True)
        run("poetry", "check", "--lock", cwd=project)
        for poetry in (OLDEST_POETRY, NEWEST_POETRY):
            run("uvx", "--from", poetry, "poetry", "check", "--lock", cwd=project)


def main() -> None:
    """Renew the locks, then check them."""
    sets = [
        (framework, server, python_version)
        for framework, server in questionnaire.stacks()
        for python_version in questionnaire.choices()["python_version"]
    ]
    with tempfile.TemporaryDirectory() as folder:
        renew(Path(folder) / "renew", sets)
        check(Path(folder) / "check", sets)


if __name__ == "__main__":
    main()
