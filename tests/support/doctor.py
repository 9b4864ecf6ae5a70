"""`make doctor` with stand-ins for Docker and Copier."""

from pathlib import Path

from tests.support.commands import run

# A stand-in for Docker. Each placeholder is a shell command. The commands in HEALTHY report no problem.
DOCKER = """#!/bin/sh
case "$*" in
    "version "*) {engine} ;;
    "buildx version") {buildx} ;;
    "compose version"*) {compose} ;;
    "compose config") {config} ;;
    "compose build "*) {build} ;;
    "compose run "*) {lock} ;;
    "compose port "*) {port} ;;
    *) exit 1 ;;
esac
"""
HEALTHY = {
    "engine": "echo 28.0.0",
    "compose": "echo 2.40.3",
    "config": """printf '    ports:\\n        published: "%s"\\n' "$PORT\"""",
    "buildx": "echo buildx 0.29",
    "build": "exit 0",
    "lock": "exit 0",
    "port": "exit 1",
}


def examine(folder: Path, path: str, **env: str) -> tuple[int, list[str]]:
    """Run `make doctor`. Return its exit code and its output, without the lines that make prints."""
    result = run("make", "doctor", cwd=folder, PATH=path, **env)
    return result.returncode, [line for line in result.stdout.splitlines() if not line.startswith("make")]
