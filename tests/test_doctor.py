"""`make doctor`: a line for each check, what to do where one fails, and an exit code that says whether any did."""

import os
import re
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import ROOT, check_run, commit, run
from tests.conftest import Render
from tests.docker import free_port
from tests.made import Made
from tests.test_makefile import path_with

# An engine that has everything; {buildx}, {check} and {info} may be made to fail or to say something else.
DOCKER = """#!/bin/sh
case "$*" in
    version) printf 'Server:\\n Engine:\\n  Version:  28.0.0\\n' ;;
    info) {info} ;;
    "buildx version") {buildx} ;;
    "compose version --short") echo 2.40.3 ;;
    "compose run "*) {check} ;;
    "compose port "*) exit 1 ;;
esac
"""
HEALTHY = {"info": "echo ' Docker Root Dir: /'", "buildx": "echo buildx 0.29", "check": "echo All set"}
DF = "#!/bin/sh\nprintf 'Filesystem 1024-blocks Used Available\\n/dev/x 9 9 {kilobytes}\\n'\n"
# Nobody is there, and nobody is to be asked: the port is on this machine.
PROXY = {"http_proxy": "http://127.0.0.1:9"}
COPIER = "#!/bin/sh\nexit {code}\n"

# What is wrong: the engine's answers, programs, a file that is spoilt, and the line.
FAULTS: dict[str, tuple[dict[str, str], dict[str, str], str, str]] = {
    "buildkit": (
        {"buildx": "exit 1"},
        {},
        "",
        "BuildKit is missing: install the plugin docker-buildx, or docker-buildx-plugin.",
    ),
    "stale lock": (
        {"check": "echo 'changed since. Run `poetry lock` to fix the lock file.'; exit 1"},
        {},
        "",
        "poetry.lock is missing or does not match pyproject.toml: make lock",
    ),
    "conflict": (
        {"check": "echo 'Error: Invalid statement'; exit 1"},
        {},
        "poetry.lock",
        "poetry.lock holds conflict markers: make lock",
    ),
    "bad project": (
        {"check": "echo 'Error: The fields are wrong'; exit 1"},
        {},
        "",
        "poetry check --lock fails: Error: The fields are wrong",
    ),
    "full disk": (
        {},
        {"df": DF.format(kilobytes=2**20)},
        "",
        "Only 1024 MB are free on the disk of /, 2048 are wanted: docker system prune gives some back.",
    ),
    "carriage returns": (
        {},
        {},
        "entrypoint.sh",
        "entrypoint.sh has Windows line endings, with which no container starts: sed -i 's/\\r$//' entrypoint.sh",
    ),
    "newer template": (
        {},
        {"copier": COPIER.format(code=2)},
        "",
        "The template has a newer version: copier update --trust, as README.md says.",
    ),
}


def examine(folder: Path, path: str, **env: str) -> tuple[int, list[str]]:
    """Run `make doctor`, and return its exit code and its lines without make's own."""
    result = run("make", "doctor", cwd=folder, PATH=path, **env)
    return result.returncode, [line for line in result.stdout.splitlines() if not line.startswith("make")]


def test_doctor_finds_nothing_to_complain_of(render: Render, tmp_path: Path) -> None:
    programs = {"docker": DOCKER.format(**HEALTHY), "df": DF.format(kilobytes=2**22), "copier": COPIER.format(code=0)}
    code, lines = examine(render(), path_with(tmp_path, **programs), PORT=str(free_port()))
    assert code == 0
    assert len(lines) == 9
    assert all(line.startswith("✓ ") for line in lines), lines


@pytest.mark.parametrize("fault", FAULTS)
def test_doctor_says_what_to_do(fault: str, project: Render, tmp_path: Path) -> None:
    engine, given, spoilt, message = FAULTS[fault]
    folder = project()
    if spoilt:
        with (folder / spoilt).open("a", newline="") as text:
            text.write("<<<<<<< ours\r\n")
    programs = {
        "docker": DOCKER.format(**HEALTHY | engine),
        "df": DF.format(kilobytes=2**22),
        "copier": COPIER.format(code=0),
    }
    code, lines = examine(folder, path_with(tmp_path, **programs | given), PORT=str(free_port()))
    assert code != 0
    assert [line for line in lines if not line.startswith("✓ ")] == [f"✗ {message}"]


def test_doctor_says_what_it_could_not_look_at(render: Render, tmp_path: Path) -> None:
    code, lines = examine(render(), path_with(tmp_path))
    assert code != 0
    assert lines[0] == "✗ Docker is missing: install it as https://docs.docker.com/engine/install/ says."
    unknown = [line for line in lines if line.startswith("- ")]
    assert unknown == [
        "- BuildKit and the port were not looked at: they need Docker and Compose.",
        "- poetry.lock was not checked: that takes Poetry, or Docker to run it.",
        "- No newer template was looked for: Copier is not here.",
    ]


def test_doctor_finds_a_taken_port(render: Render, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        code, lines = examine(render(), path_with(tmp_path, docker=DOCKER.format(**HEALTHY)), PORT=port, **PROXY)
    assert code != 0
    assert f"✗ Port {port} is taken: stop what listens there, or choose another: make up PORT=8001." in lines


def test_doctor_reads_the_port_from_the_settings(project: Render, tmp_path: Path) -> None:
    folder, port = project(), free_port()
    (folder / ".env").write_bytes(f'LOG_LEVEL=info\r\nPORT="{port}"\r\n'.encode())
    _, lines = examine(folder, path_with(tmp_path, docker=DOCKER.format(**HEALTHY)))
    assert f"✓ Port {port} is free" in lines


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    ("info", "owner", "line"),
    [
        ("echo", 65534, "✓ What containers write belongs to you, 65534:65534"),
        ("echo '    rootless: false'", 65534, "✓ What containers write belongs to you, 65534:65534"),
        ("echo", 0, "✗ Not all files are yours, ./Makefile for one: sudo chown -R 65534:65534 ."),
        (
            "echo ' Server:'; echo '  rootless'",
            65534,
            "✗ The engine is rootless, where you are root in a container: make APP_UID=0 APP_GID=0 with each target.",
        ),
    ],
    ids=["yours", "podman of root", "not yours", "rootless"],
)
def test_doctor_looks_whose_files_they_are(info: str, owner: int, line: str, project: Render, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as home:
        folder = project().rename(Path(home, "project"))
        programs = path_with(Path(home), docker=DOCKER.format(**HEALTHY | {"info": info}))
        for path in [Path(home), *folder.rglob("*"), folder]:
            os.chown(path, 65534, 65534)
        os.chown(folder / "Makefile", owner, owner)
        become = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        setpriv = check_run("sh", "-c", "command -v setpriv", cwd=tmp_path).strip()
        result = run(setpriv, *become[1:], "make", "doctor", cwd=folder, PATH=programs)
    assert line in result.stdout.splitlines(), result.stdout


@pytest.mark.docker
def test_doctor_of_a_project_that_runs(made: Callable[..., Made]) -> None:
    day = made()
    day.check_make("up")
    result = day.make("doctor")
    good = [line for line in result.stdout.splitlines() if line.startswith("✓ ")]
    assert len(good) >= 8, result.stdout
    for pattern in (
        "Docker Engine [0-9.]+",
        "Compose [0-9.]+",
        "BuildKit, with .*buildx",
        f"Port {day.port} serves this",
    ):
        assert any(re.match(f"✓ {pattern}", line) for line in good), result.stdout
    pyproject = day.folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("structlog (>=26.1.0", "structlog (>=26.0.0"))
    result = day.make("doctor")
    assert result.returncode != 0
    assert "✗ poetry.lock is missing or does not match pyproject.toml: make lock" in result.stdout


def test_doctor_sees_a_newer_template(template_clone: Path, tmp_path: Path) -> None:
    check_run("git", "tag", "1.0.0", cwd=template_clone)
    folder = tmp_path / "project"
    check_run("copier", "copy", "--trust", "--defaults", str(template_clone), str(folder), cwd=tmp_path)
    path = path_with(tmp_path, docker=DOCKER.format(**HEALTHY))
    copier = check_run("sh", "-c", "command -v copier", cwd=ROOT).strip()
    Path(path, "copier").symlink_to(copier)
    commit(folder, "start")
    assert "✓ The template has nothing newer" in examine(folder, path)[1]
    commit(template_clone, "more", tag="1.1.0")
    assert "✗ The template has a newer version: copier update --trust, as README.md says." in examine(folder, path)[1]
