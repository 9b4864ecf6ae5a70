"""Renew and prove the `poetry.lock` files that the template ships, one for each framework and server.

`make locks` runs this with the tools of `.venv`. It resolves each set of dependencies anew with the pinned Poetry,
writes the names that no service may have to `extensions/reserved_names.json`, and checks the result as projects will
use it: for every Python version, with the oldest, the pinned and the newest Poetry.
"""

import itertools
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
from scripts import questionnaire

ROOT = Path(__file__).parent.parent
RESERVED_NAMES = ROOT / "extensions" / "reserved_names.json"
OLDEST_POETRY = f"poetry~={answers.OLDEST_POETRY}.0"
NEWEST_POETRY = "poetry@latest"
IMPORT_NAMES = "import importlib.metadata as m, json; print(json.dumps(list(m.packages_distributions())))"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command with the tools of `.venv` first on the PATH.

    Args:
        command: The program and its arguments.
        cwd: The folder to run it in.

    Returns:
        What it printed on standard output.

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


def shipped_lock(framework: str, server: str) -> Path:
    """Return where the template keeps the lock of a framework and server."""
    condition = f"framework == '{framework}' and server == '{server}'"
    return ROOT / "template" / f"{{% if {condition} %}}poetry.lock{{% endif %}}"


def render(destination: Path, **answers: str | bool) -> Path:
    """Render the checkout as it stands into a new folder, with the given answers, and return that folder."""
    run_copy(str(ROOT), destination, data=answers, defaults=True, unsafe=True, vcs_ref="HEAD", quiet=True)
    return destination


def import_names(project: Path) -> set[str]:
    """Install a project's locked dependencies, all groups, and return the names that they can be imported by."""
    run("poetry", "export", "--all-groups", "--output", "requirements.txt", cwd=project)
    run("uv", "venv", "--quiet", "environment", cwd=project)
    python = project / "environment" / "bin" / "python"
    run("uv", "pip", "install", "--quiet", "--python", python, "-r", "requirements.txt", cwd=project)
    return set(json.loads(run(python, "-c", IMPORT_NAMES, cwd=project)))


def package_names(lock: Path) -> set[str]:
    """Return the import names that the distributions of a lock would have by their own name."""
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    return {package["name"].lower().replace("-", "_") for package in packages}


def renew(folder: Path, sets: list[tuple[str, str]]) -> None:
    """Resolve each set of dependencies anew, and write its lock and the reserved names."""
    reserved: set[str] = set()
    for framework, server in sets:
        project = render(folder / f"{framework}-{server}", framework=framework, server=server)
        print(f"locking {framework} with {server}", flush=True)
        run("poetry", "lock", "--regenerate", cwd=project)
        shutil.copyfile(project / "poetry.lock", shipped_lock(framework, server))
        reserved |= package_names(project / "poetry.lock") | import_names(project)
    names = sorted(name for name in reserved if name.isidentifier() and not name.startswith("_"))
    RESERVED_NAMES.write_text(json.dumps(names, indent=2) + "\n", encoding="utf-8")


def prove(folder: Path, sets: list[tuple[str, str]], python_versions: list[str]) -> None:
    """Check the shipped locks in rendered projects, with the oldest, the pinned and the newest Poetry."""
    for (framework, server), python_version in itertools.product(sets, python_versions):
        answers = {"framework": framework, "server": server, "python_version": python_version}
        project = render(folder / f"{framework}-{server}-{python_version}", **answers)
        print(f"checking {framework} with {server} on Python {python_version}", flush=True)
        run("poetry", "check", "--lock", cwd=project)
        for poetry in (OLDEST_POETRY, NEWEST_POETRY):
            run("uvx", "--from", poetry, "poetry", "check", "--lock", cwd=project)


def main() -> None:
    """Renew the locks, then prove them."""
    offered = questionnaire.choices()
    sets = list(itertools.product(offered["framework"], offered["server"]))
    with tempfile.TemporaryDirectory() as folder:
        renew(Path(folder) / "renew", sets)
        prove(Path(folder) / "prove", sets, offered["python_version"])


if __name__ == "__main__":
    main()
