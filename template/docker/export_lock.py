"""Write poetry.lock as requirements for uv: `poetry export`, without Poetry in every build.

    python export_lock.py FOLDER

writes FOLDER/main.txt (the service, with those of the project's own extras that EXTRAS names),
FOLDER/all.txt (every group and extra) and FOLDER/build.txt (what builds the package). What the lock
names by path goes to main.local.txt and all.local.txt. A lock that is stale, or that holds more
than packages of the default index, is left to Poetry itself, which uv fetches then: POETRY_VERSION,
POETRY_PLUGIN_EXPORT_VERSION and POETRY_PLUGINS say which.

Source: https://github.com/python-poetry/poetry/blob/main/src/poetry/packages/locker.py
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

STALE = (
    "poetry.lock is missing or does not match pyproject.toml: run 'make lock', then build again."
)


def content_hash(pyproject: dict[str, Any]) -> str:
    """Return the hash that Poetry 2.3 and newer keep in the lock, of a project of any age."""
    section = pyproject.get("project", {})
    keys = ("requires-python", "dependencies", "optional-dependencies")
    project = {key: section[key] for key in keys if key in section}
    groups = pyproject.get("dependency-groups", {})
    poetry = pyproject.get("tool", {}).get("poetry", {})
    content: dict[str, Any] = {
        key: poetry.get(key)
        for key in ("dependencies", "source", "extras", "dev-dependencies", "group")
        if key in poetry or not (project or groups or key == "group")
    }
    if project or groups:
        tool = {"poetry": content}
        sections = {"project": project, "dependency-groups": groups, "tool": tool}
        content = {name: section for name, section in sections.items() if section}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_understood(lock: dict[str, Any]) -> bool:
    """Return whether the format is known, and every package has hashes and the default index."""
    return (
        lock.get("metadata", {}).get("lock-version") == "2.1"
        and "extras" not in lock
        and all(package["files"] and "source" not in package for package in lock["package"])
    )


def requirement(package: dict[str, Any], groups: set[str]) -> str:
    """Return a package of the lock as a line of a requirements file.

    Args:
        package: A `[[package]]` table; its `markers` are one for all groups, or a table by group.
        groups: The groups to install that need the package.

    Returns:
        The version, the marker and the hashes.

    Source: https://pip.pypa.io/en/stable/topics/secure-installs/#hash-checking-mode
    """
    markers = package.get("markers", "")
    if isinstance(markers, dict):
        of_groups = [markers.get(group, "") for group in sorted(groups)]
        markers = " or ".join(f"({marker})" for marker in of_groups) if all(of_groups) else ""
    condition = f" ; {markers}" if markers else ""
    hashes = "".join(f" --hash={file['hash']}" for file in package["files"])
    return f"{package['name']}=={package['version']}{condition}{hashes}\n"


def requirements(lock: dict[str, Any], groups: set[str] | None = None) -> str:
    """Return the packages that some groups of a lock need, or any group, as requirements."""
    lines = []
    for package in lock["package"]:
        needed_by = set(package["groups"])
        if chosen := needed_by if groups is None else needed_by & groups:
            lines.append(requirement(package, chosen))
    return "".join(lines)


def export_with_poetry(*options: str) -> str:
    """Have Poetry export the lock, and return the requirements.

    Args:
        options: More options of `poetry export`.

    Raises:
        SystemExit: It did not; the message says whether the lock is stale.
    """
    env = os.environ | {"UV_COMPILE_BYTECODE": "0"}
    plugins = [
        f"poetry-plugin-export=={env['POETRY_PLUGIN_EXPORT_VERSION']}",
        *env["POETRY_PLUGINS"].split(),
    ]
    poetry = [
        f"--from=poetry=={env['POETRY_VERSION']}",
        *(f"--with={plugin}" for plugin in plugins),
        "poetry",
    ]
    command = ["uvx", *poetry, "export", *options]
    done = subprocess.run(  # noqa: S603 # all of it is ours
        command, env=env, capture_output=True, text=True, check=False
    )
    sys.stderr.write(done.stderr)
    if done.returncode:
        is_stale = "poetry.lock was last generated" in done.stderr
        raise SystemExit(STALE if is_stale else "Poetry could not export poetry.lock: see above.")
    return done.stdout.replace("\\\n", "")  # a requirement a line


def split(exported: str) -> tuple[str, str]:
    """Return the lines of a requirements file without, and with, what is named by path."""
    lines = exported.splitlines(keepends=True)
    local = [line for line in lines if re.match("(-e )?file:|.* @ file:", line)]
    return "".join(line for line in lines if line not in local), "".join(local)


def read(name: str) -> dict[str, Any]:
    """Return what a TOML file of this folder holds.

    Raises:
        SystemExit: The file cannot be read; the message says why.
    """
    try:
        return tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except ValueError as error:
        advice = " Run 'make lock', then build again." if name == "poetry.lock" else ""
        raise SystemExit(f"{name} cannot be read: {error}.{advice}") from error


def main(folder: Path) -> None:
    """Write the files into a folder, which is made.

    Raises:
        SystemExit: The lock is missing or stale, or cannot be exported; the message says so.
    """
    if not Path("poetry.lock").exists():
        raise SystemExit(STALE)
    pyproject, lock = read("pyproject.toml"), read("poetry.lock")
    folder.mkdir()
    backend = pyproject.get("build-system", {"requires": ["setuptools"]})  # the default of PEP 518
    folder.joinpath("build.txt").write_text("\n".join(backend["requires"]), encoding="utf-8")
    is_fresh = lock.get("metadata", {}).get("content-hash") == content_hash(pyproject)
    if is_fresh and is_understood(lock):
        exported = {"main": requirements(lock, {"main"}), "all": requirements(lock)}
    else:
        main = export_with_poetry("--extras", os.environ.get("EXTRAS", "").replace(",", " "))
        exported = {
            # An editable install would point at a folder that the image does not have.
            "main": re.sub("^-e file:", "file:", main, flags=re.MULTILINE),
            "all": export_with_poetry("--all-groups", "--all-extras"),
        }
    for name, text in exported.items():
        from_index, local = split(text)
        folder.joinpath(f"{name}.txt").write_text(from_index, encoding="utf-8")
        folder.joinpath(f"{name}.local.txt").write_text(local, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
