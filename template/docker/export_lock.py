"""Write poetry.lock as requirements files for uv, as `poetry export` does, but without Poetry.

    python export_lock.py [--all] [FOLDER]

writes main.txt and build.txt, the packages of production and the build backend. With --all, it
writes all.txt, the packages of every group. The variable EXTRAS names the extras; without it, --all
takes all of them. Packages that the lock names by a path go to main.local.txt or all.local.txt.
Without FOLDER, it only checks that the lock is fresh.
"""

import hashlib
import json
import os
import re
import sys
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

ADVICE = "run 'make lock', then build again."
STALE = f"poetry.lock is missing or does not match pyproject.toml: {ADVICE}"


def content_hash(pyproject: dict[str, Any]) -> str:
    """Return the hash of pyproject.toml that Poetry 2.3 and newer write to the lock.

    Source: https://github.com/python-poetry/poetry/blob/main/src/poetry/packages/locker.py
    """
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


def location(package: dict[str, Any], *, editable: bool) -> str:
    """Return a package of the lock with its version, or with the address that it comes from."""
    name, source = package["name"], package.get("source", {"type": "legacy"})
    url = source.get("url", "")
    if source["type"] == "legacy":  # from an index
        return f"{name}=={package['version']}"
    if source["type"] == "git":
        # uv wants git@example.com:team/project as ssh://git@example.com/team/project.
        url = re.sub(r"^([\w.-]+@[\w.-]+):(?!//)", r"ssh://\1/", url)
        folder = f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
        return f"{name} @ git+{url}@{source['resolved_reference']}{folder}"
    if source["type"] == "url":
        return f"{name} @ {url}"
    path = Path("/app", url)
    return f"-e {path}" if editable and package.get("develop") else f"{name} @ file://{path}"


def marker(package: dict[str, Any], groups: set[str], extras: set[str]) -> str:
    """Return the condition to install a package for some groups and extras, or an empty string."""
    markers = package.get("markers", "")
    if isinstance(markers, dict):  # one for each group
        of_groups = [markers.get(group, "") for group in sorted(groups)]
        markers = " or ".join(f"({text})" for text in of_groups) if all(of_groups) else ""

    def evaluate(match: re.Match[str]) -> str:
        is_true = (match[2] in extras) == (match[1] == "==")
        return f"python_version {'>' if is_true else '<'} '0'"

    return re.sub(r"extra (==|!=) [\"']([^\"']+)[\"']", evaluate, markers)


def requirements(
    lock: dict[str, Any], groups: set[str] | None = None, extras: set[str] | None = None
) -> list[str]:
    """Return the packages of a lock as lines of a requirements file.

    Args:
        lock: The content of poetry.lock.
        groups: The dependency groups to install. All of them if it is None.
        extras: The normalized names of the extras to install.

    Source: https://pip.pypa.io/en/stable/topics/secure-installs/#hash-checking-mode
    """
    sources = [package.get("source", {}) for package in lock["package"]]
    indexes = {source["url"] for source in sources if source.get("type") == "legacy"}
    lines = [f"--extra-index-url={url}" for url in sorted(indexes)]
    for package in lock["package"]:
        needed_by = set(package["groups"])
        if chosen := needed_by if groups is None else needed_by & groups:
            condition = marker(package, chosen, extras or set())
            hashes = "".join(f" --hash={file['hash']}" for file in package["files"])
            place = location(package, editable=groups is None)
            lines.append(f"{place}{f' ; {condition}' if condition else ''}{hashes}")
    return lines


def exclusive(lock: dict[str, Any], extras: set[str]) -> list[str]:
    """Return those of some extras that exclude each other in the markers of the lock."""
    pairs = set()
    for package in lock["package"]:
        text = str(package.get("markers"))
        names = [re.findall(rf"extra {sign} [\"']([^\"']+)", text) for sign in ("==", "!=")]
        pairs |= set(product(*names))
    return sorted(a for a, b in pairs if (b, a) in pairs and {a, b} <= extras)


def read(name: str) -> dict[str, Any]:
    """Return the content of a TOML file if there is one. Exit with one line if it is not valid."""
    try:
        return tomllib.loads(Path(name).read_text(encoding="utf-8")) if Path(name).exists() else {}
    except ValueError as error:
        advice = f" {ADVICE.capitalize()}" if name == "poetry.lock" else ""
        sys.exit(f"{name} cannot be read: {error}.{advice}")


def main(arguments: list[str]) -> None:
    """Check the lock, then write the files to a folder, if there is one."""
    pyproject, lock = read("pyproject.toml"), read("poetry.lock")
    metadata = [lock.get("metadata", {}).get(key) for key in ("lock-version", "content-hash")]
    if metadata != ["2.1", content_hash(pyproject)]:
        sys.exit(STALE)
    if not arguments:
        return
    names = re.findall(r"[\w.-]+", os.environ.get("EXTRAS", "").lower())
    extras = {re.sub(r"[-_.]+", "-", name) for name in names}
    if "--all" in arguments:
        extras = extras or set(lock.get("extras", {}))
        exported = {"all": requirements(lock, None, extras)}
    else:
        backend = pyproject.get("build-system", {"requires": ["setuptools"]})  # PEP 518's default
        exported = {"main": requirements(lock, {"main"}, extras), "build": backend["requires"]}
    if both := exclusive(lock, extras):
        sys.exit(f"The extras {' and '.join(both)} exclude each other: name one of them in EXTRAS.")
    folder = Path(arguments[-1])
    folder.mkdir(exist_ok=True)
    for name, lines in exported.items():
        local = [line for line in lines if re.match(r"-e |\S+ @ file:", line)]
        remote = [line for line in lines if line not in local]
        for file, chosen in ((f"{name}.txt", remote), (f"{name}.local.txt", local)):
            folder.joinpath(file).write_text("\n".join([*chosen, ""]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
