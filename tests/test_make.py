"""A day with the generated Makefile, on a real engine with Compose v2: what works, and how it says what does not."""

import re
import signal
import socket
import time
from collections.abc import Callable

import pexpect
import pytest

from tests.commands import ROOT, check_run, commit, run
from tests.conftest import STACKS, slow
from tests.docker import Load, free_port, get, inspect
from tests.made import Made

pytestmark = pytest.mark.docker


# Flask's development server is the same, whichever serves in production; Uvicorn is what the other tests have.
@pytest.mark.parametrize(("framework", "server"), [("flask", "gunicorn"), *slow(("fastapi", "granian"))])
def test_first_day(framework: str, server: str, made: Callable[..., Made]) -> None:
    day = made(framework, server)
    port = day.port

    assert day.check_make("up").splitlines()[-1] == f"Serving http://localhost:{port}"
    assert get(port, "/health").status == 200
    assert get(port).json()["name"] == day.name

    app = day.package / "app.py"
    text = app.read_text()

    assert re.search(r"\b[12]\d passed", day.check_make("test"))
    assert "1 passed" in day.check_make("test", "ARGS=-k 'health_gives and status'")
    assert day.make("test", "ARGS=-k no_such_test").returncode != 0
    lint = day.check_make("lint")
    assert lint.count("Passed") == 7, lint
    assert "Failed" not in lint
    app.write_text(text + "x = [ 1 ]\nundefined\n")
    other_user = day.make("lint", APP_UID="1234", APP_GID="1234")
    assert other_user.returncode != 0
    assert 'Name "undefined" is not defined' in other_user.stdout, "mypy's cache is not another user's"
    day.check_make("format")
    assert app.read_text().endswith("\nx = [1]\nundefined\n"), (
        "what cannot be mended keeps nothing from being formatted"
    )
    app.write_text(text)

    started = inspect("container", f"{day.name}-app-1")["State"]["StartedAt"]
    day.check_make("up")
    assert inspect("container", f"{day.name}-app-1")["State"]["StartedAt"] == started, "an edit restarts nothing"

    day.check_make("down")
    assert run("docker", "container", "inspect", f"{day.name}-app-1", cwd=ROOT).returncode != 0
    assert day.changed_files() == []


def test_lock_mends_a_stale_lock(made: Callable[..., Made]) -> None:
    day = made()
    stale = "poetry.lock is missing or does not match pyproject.toml: run 'make lock', then build again."
    pyproject = day.folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("structlog (>=26.1.0", "structlog (>=26.0.0"))
    assert day.last_line("up") == stale
    assert day.last_line("test") == stale
    (day.folder / "poetry.lock").unlink()
    assert day.last_line("up") == stale
    day.check_make("lock")
    assert day.check_make("up").splitlines()[-1] == f"Serving http://localhost:{day.port}"


def test_lock_ends_a_merge_conflict(made: Callable[..., Made]) -> None:
    day = made()
    check_run("git", "switch", "--create", "colleague", cwd=day.folder)
    day.check_make("add", "PKG=cowsay")
    commit(day.folder, "feat: a cow")
    check_run("git", "switch", "main", cwd=day.folder)
    day.check_make("add", "PKG=toolz", "GROUP=dev")
    commit(day.folder, "test: tools")
    merge = run("git", "merge", "colleague", cwd=day.folder)
    assert re.findall(r"^CONFLICT .* in (.*)$", merge.stdout, re.M) == ["poetry.lock"]
    line = day.last_line("build")
    assert line.startswith("poetry.lock cannot be read: ")
    assert line.endswith("Run 'make lock', then build again.")
    day.check_make("lock")
    lock = (day.folder / "poetry.lock").read_text()
    assert '\nname = "cowsay"\n' in lock
    assert '\nname = "toolz"\n' in lock
    day.check_make("build")


def test_up_names_a_taken_port(made: Callable[..., Made]) -> None:
    day = made()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", day.port))
        listener.listen()
        line = day.last_line("up")
    assert line == "The port is taken: stop what listens there, or choose another: make up PORT=8001."
    assert day.check_make("up").splitlines()[-1] == f"Serving http://localhost:{day.port}"


def test_up_shows_why_the_service_does_not_start(made: Callable[..., Made]) -> None:
    day = made("flask")
    settings = day.package / "settings.py"
    settings.write_text("raise RuntimeError('planted')\n")
    result = day.make("up", "SECONDS_TO_START=5")
    assert result.returncode != 0
    assert "RuntimeError: planted" in result.stdout
    assert "The service is not healthy: its log stands above; mend it, then make up again." in result.stdout


def test_up_takes_the_caller_ids(made: Callable[..., Made]) -> None:
    day = made()
    day.check_make("up", "APP_UID=501", "APP_GID=20")
    assert check_run("docker", "exec", f"{day.name}-app-1", "id", "-u", cwd=ROOT).strip() == "501"
    assert check_run("docker", "exec", f"{day.name}-app-1", "id", "-g", cwd=ROOT).strip() == "20"
    assert get(day.port, "/health").status == 200


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_run_serves_the_production_image_locked_down(framework: str, server: str, made: Callable[..., Made]) -> None:
    day = made(framework, server, on_trial=True)
    terminal = day.run_in_terminal()
    try:
        assert get(day.port, "/health").status == 200
        listed = check_run("docker", "ps", "--quiet", f"--filter=ancestor={day.name}", cwd=ROOT).split()
        host_config = inspect("container", listed[0])["HostConfig"]
        assert host_config["ReadonlyRootfs"] is True
        assert host_config["CapDrop"] == ["ALL"]
        assert host_config["SecurityOpt"] == ["no-new-privileges"]
        in_flight = Load(day.port, "/sleep?seconds=2", clients=20)
        in_flight.start(20)
        time.sleep(1)
    finally:
        terminal.sendintr()
        terminal.expect(pexpect.EOF)
        terminal.close()
    assert (terminal.exitstatus, terminal.signalstatus) == (None, signal.SIGINT), terminal.before
    assert in_flight.finish() == {"200": 20}
    assert run("docker", "ps", "--all", "--quiet", f"--filter=ancestor={day.name}", cwd=ROOT).stdout == ""


def test_down_stops_the_production_container_too(made: Callable[..., Made]) -> None:
    day = made()
    server = day.run_in_terminal()
    assert get(day.port, "/health").status == 200
    server.kill(signal.SIGKILL)  # as a terminal that is closed: nobody tells the container
    day.check_make("down")
    assert run("docker", "ps", "--all", "--quiet", f"--filter=ancestor={day.name}", cwd=ROOT).stdout == ""


def test_run_beside_the_development_server_says_what_to_do(made: Callable[..., Made]) -> None:
    day = made()
    day.check_make("up")
    message = "The port is taken: make down stops the development server; make run PORT=8001 takes another."
    assert day.last_line("run") == message
    server = Made(day.folder, day.name, other_port := free_port()).run_in_terminal()
    try:
        assert get(other_port, "/health").status == get(day.port, "/health").status == 200
    finally:
        server.sendintr()
        server.expect(pexpect.EOF)
        server.close()


def test_settings_of_the_caller_do_not_reach_the_tests(made: Callable[..., Made]) -> None:
    day = made()
    (day.folder / ".env").write_text("LOG_LEVEL=loud\nLOG_FORMAT=json\n")
    assert "failed" not in day.check_make("test")


def test_run_hands_on_why_it_ended(made: Callable[..., Made]) -> None:
    day = made()
    assert "LOG_LEVEL must be one of: debug info warning error critical, not 'loud'." in (
        day.make("run", LOG_LEVEL="loud").stdout
    )
    assert day.make("run", LOG_LEVEL="loud").returncode != 0
