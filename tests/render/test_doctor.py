"""`make doctor`: one line for each check, how to fix each problem, and an exit code."""

import shlex
import socket
from pathlib import Path

import pytest
from copier import run_copy

from tests.support.bare_machine import path_with
from tests.support.commands import ROOT, check_run, commit
from tests.support.docker import free_port
from tests.support.doctor import DOCKER, HEALTHY, examine
from tests.support.projects import Render

COPIER = "#!/bin/sh\nexit {code}\n"
# curl must not use it: the port is on this machine.
PROXY = {"http_proxy": "http://127.0.0.1:9"}

# A fault of the engine or of Copier, and the expected line.
FAULTS: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "no daemon": (
        {"engine": "echo 'Cannot connect to the Docker daemon' >&2; exit 1"},
        {},
        "The Docker daemon does not respond: start Docker",
    ),
    "not allowed": (
        {"engine": "echo 'permission denied while trying to connect' >&2; exit 1"},
        {},
        "You may not use Docker: sudo usermod -aG docker {user}, then log in again",
    ),
    "old engine": (
        {"engine": "echo 24.0.9"},
        {},
        "Docker Engine 24.0.9 is too old: update it to 25 or newer",
    ),
    "no compose": (
        {"compose": "exit 1"},
        {},
        "Docker Compose is missing: https://docs.docker.com/compose/install/",
    ),
    "no BuildKit": ({"buildx": "exit 1"}, {}, "BuildKit is missing: install docker-buildx-plugin"),
    "stale lock": (
        {"lock": "exit 1"},
        {},
        "poetry.lock is missing or does not match pyproject.toml: make lock",
    ),
    "newer template": (
        {},
        {"copier": COPIER.format(code=2)},
        "The template has a newer version: docs/template-updates.md",
    ),
}


def test_doctor_without_problems(render: Render, tmp_path: Path) -> None:
    programs = {"docker": DOCKER.format(**HEALTHY), "copier": COPIER.format(code=0)}
    port = str(free_port())
    code, lines = examine(render(), path_with(tmp_path, **programs), PORT=port)
    assert code == 0
    assert len(lines) == 6
    assert all(line.startswith("✓ ") for line in lines), lines
    assert f"✓ Port {port} is free" in lines


@pytest.mark.parametrize("fault", FAULTS)
def test_doctor_says_how_to_fix_a_problem(fault: str, render: Render, tmp_path: Path) -> None:
    engine, programs, message = FAULTS[fault]
    programs = {"docker": DOCKER.format(**HEALTHY | engine), "copier": COPIER.format(code=0)} | programs
    code, lines = examine(render(), path_with(tmp_path, **programs), PORT=str(free_port()))
    user = check_run("id", "-un", cwd=tmp_path).strip()
    assert code != 0
    assert [line for line in lines if not line.startswith("✓ ")] == [f"✗ {message.format(user=user)}"]


def test_answers_file_of_any_name_is_one_word_of_the_shell(snapshot: Path, tmp_path: Path) -> None:
    name, project = "my $(touch ran) it's.yml", tmp_path / "project"
    run_copy(str(snapshot), project, answers_file=name, defaults=True, unsafe=True, quiet=True)
    programs = {"docker": DOCKER.format(**HEALTHY), "copier": '#!/bin/sh\nprintf "%s\\n" "$@" >copied\n'}
    code, lines = examine(project, path_with(tmp_path, **programs), PORT=str(free_port()))
    assert code == 0, lines
    assert (project / "copied").read_text().splitlines() == ["check-update", "--quiet", "--answers-file", name]
    assert (project / name).is_file()
    commit(project, "start")
    check_run("git", "checkout", "--quiet", "-b", "template-update", cwd=project)
    (project / name).write_text("_commit: 1.2.3\n")
    update = 'COMPOSE_RUN="sh -c true" CI_PROJECT_URL=x GITHUB_TOKEN=x sh ci/template_update.sh'
    assert check_run("sh", "-c", update, cwd=project) == "The template has no newer release than 1.2.3.\n"
    commands = [
        line
        for file in ("ci/template_update.sh", "docs/template-updates.md")
        for line in (project / file).read_text().splitlines()
        if "copier update --" in line
    ]
    assert [shlex.split(line)[-1] for line in commands] == [name, name]
    assert not (project / "ran").exists()


def test_doctor_names_the_range_of_python_to_write(project: Render, tmp_path: Path) -> None:
    folder = project(python_version="3.13")
    with (folder / "pyproject.toml").open("a") as pyproject:
        pyproject.write('\n[tool.poetry.dependencies]\npython = "~3.12 || ~3.13"\n')
    code, lines = examine(folder, path_with(tmp_path))
    assert code != 0
    message = 'A range of Python with || cannot be installed: set python = ">=3.13,<3.14" in pyproject.toml'
    assert f"✗ {message}" in lines


def test_doctor_without_docker(render: Render, tmp_path: Path) -> None:
    code, lines = examine(render(), path_with(tmp_path))
    assert code != 0
    assert lines == [
        "✗ Docker is missing: https://docs.docker.com/engine/install/",
        "- A newer template: Copier is not installed",
    ]


def test_doctor_skips_the_lock_if_the_image_cannot_be_built(render: Render, tmp_path: Path) -> None:
    programs = {"docker": DOCKER.format(**HEALTHY | {"build": "exit 1"}), "copier": COPIER.format(code=0)}
    code, lines = examine(render(), path_with(tmp_path, **programs), PORT=str(free_port()))
    assert code == 0
    assert [line for line in lines if not line.startswith("✓ ")] == [
        "- poetry.lock: the image of Poetry cannot be built"
    ]


def test_doctor_finds_a_taken_port(render: Render, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        code, lines = examine(render(), path_with(tmp_path, docker=DOCKER.format(**HEALTHY)), PORT=port, **PROXY)
    assert code != 0
    assert f"✗ Port {port} is taken: make up PORT=8001" in lines


def test_doctor_sees_a_newer_template(template_clone: Path, tmp_path: Path) -> None:
    check_run("git", "tag", "1.0.0", cwd=template_clone)
    folder = tmp_path / "project"
    check_run("copier", "copy", "--trust", "--defaults", str(template_clone), str(folder), cwd=tmp_path)
    path = path_with(tmp_path, docker=DOCKER.format(**HEALTHY))
    copier = check_run("sh", "-c", "command -v copier", cwd=ROOT).strip()
    Path(path, "copier").symlink_to(copier)
    commit(folder, "start")
    assert "✓ The template has no newer version" in examine(folder, path)[1]
    commit(template_clone, "more", tag="1.1.0")
    assert "✗ The template has a newer version: docs/template-updates.md" in examine(folder, path)[1]
