"""The targets of the generated Makefile, with a real engine and Compose v2: results and error messages."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pexpect
import pytest

from tests.support.commands import ROOT, check_run, commit, run
from tests.support.docker import Load, free_port, get, inspect
from tests.support.made import Made
from tests.support.matrix import in_every_run, slow
from tests.support.template import PAIRS, PASSING_HOOKS, STACKS

# The engine's messages about a port that is in use.
PORT_IN_USE = r"address already in use|port is already allocated"
STALE = "poetry.lock is missing or does not match pyproject.toml: run 'make lock', then build again."


# Flask's development server is the same with both production servers. Other tests cover uvicorn.
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
    assert "1 passed" in day.check_make("test", "ARGS=-k 'index_names and service'")
    assert day.make("test", "ARGS=-k no_such_test").returncode != 0
    lint = day.check_make("lint")
    assert lint.count("Passed") == PASSING_HOOKS, lint
    assert "Failed" not in lint
    app.write_text(text + "x = [ 1 ]\nundefined\n")
    other_user = day.make("lint", APP_UID="1234", APP_GID="1234")
    assert other_user.returncode != 0
    assert 'Name "undefined" is not defined' in other_user.stdout, "mypy's cache belongs to another user"
    day.check_make("format")
    assert app.read_text().endswith("\nx = [1]\nundefined\n"), "an error that ruff cannot fix stops the formatter"
    app.write_text(text)
    day.wait_until_healthy()

    started = inspect("container", day.container())["State"]["StartedAt"]
    day.check_make("up")
    assert inspect("container", day.container())["State"]["StartedAt"] == started, "the container was replaced"

    day.check_make("down")
    assert run("docker", "container", "inspect", day.container(), cwd=ROOT).returncode != 0
    assert day.changed_files() == []


@pytest.fixture
def two_checkouts(made: Callable[..., Made]) -> Iterator[tuple[Made, Made]]:
    """Return two checkouts of one project, in folders of different names."""
    first = made()
    folder = first.folder.with_name(f"{first.name}-two")
    check_run("git", "clone", "--quiet", first.folder, folder, cwd=first.folder)
    second = Made(folder, first.name, free_port())
    yield first, second
    second.make("clean")


@pytest.mark.slow
def test_two_checkouts_run_side_by_side(two_checkouts: tuple[Made, Made]) -> None:
    first, second = two_checkouts
    ids = {"APP_UID": str(os.getuid()), "APP_GID": str(os.getgid())}  # as .env sets them for plain docker compose
    for day in two_checkouts:
        assert day.check_make("up").splitlines()[-1] == f"Serving http://localhost:{day.port}"
    app = second.package / "app.py"
    app.write_text(app.read_text().replace('"/health"', '"/health-two"'))
    assert get(first.port, "/health").status == 200
    identities = {}
    for day in two_checkouts:
        listed = check_run("docker", "compose", "ps", "--format=json", cwd=day.folder)
        (found,) = [json.loads(line) for line in listed.splitlines()]
        assert (found["Name"], found["State"]) == (day.container(), "running"), listed
        identities[day.port] = inspect("container", day.container())["Id"]

    for day in two_checkouts:
        check_run("docker", "compose", "up", "--detach", cwd=day.folder, PORT=str(day.port), **ids)
        assert inspect("container", day.container())["Id"] == identities[day.port], "Compose replaced the container"

    first.check_make("test")
    first.check_make("down")
    assert get(second.port, "/health-two").status == 200, "the other checkout was stopped"
    check_run("docker", "compose", "down", cwd=second.folder)
    assert run("docker", "container", "inspect", second.container(), cwd=ROOT).returncode != 0


@pytest.mark.slow
def test_lock_updates_a_stale_lock(made: Callable[..., Made]) -> None:
    day = made()
    pyproject = day.folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("structlog (>=26.1.0", "structlog (>=26.0.0"))
    assert STALE in day.fail_make("up")
    assert STALE in day.fail_make("test")
    (day.folder / "poetry.lock").unlink()
    assert STALE in day.fail_make("up")
    day.check_make("lock")
    assert day.check_make("up").splitlines()[-1] == f"Serving http://localhost:{day.port}"


@pytest.mark.slow
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
    line = r"poetry\.lock cannot be read: .*Run 'make lock', then build again\."
    assert re.search(line, day.fail_make("build"))
    day.check_make("lock")
    lock = (day.folder / "poetry.lock").read_text()
    assert '\nname = "cowsay"\n' in lock
    assert '\nname = "toolz"\n' in lock
    day.check_make("build")


@pytest.mark.slow
def test_up_names_a_taken_port(made: Callable[..., Made]) -> None:
    day = made()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", day.port))
        listener.listen()
        output = day.fail_make("up")
    assert re.search(rf":{day.port}\b.*({PORT_IN_USE})", output), output
    assert day.check_make("up").splitlines()[-1] == f"Serving http://localhost:{day.port}"


def shorten_health_check(day: Made) -> None:
    """Let the development container become unhealthy after two seconds instead of a minute."""
    override = day.folder / "docker-compose.override.yml"
    short = "    healthcheck: { start_period: 1s, interval: 1s, retries: 1 }\n"
    override.write_text(re.sub(r"    healthcheck: .*\n", short, override.read_text()))


def test_up_shows_why_the_service_does_not_start(made: Callable[..., Made]) -> None:
    day = made("flask")
    shorten_health_check(day)
    settings = day.package / "settings.py"
    settings.write_text("raise RuntimeError('planted')\n")
    assert "RuntimeError: planted" in day.fail_make("up")


def test_up_ends_at_a_bad_value(made: Callable[..., Made]) -> None:
    day = made()
    day.make("image")  # build first, because the test measures only the wait
    start = time.monotonic()
    output = day.fail_make("up", LOG_LEVEL="loud")
    assert re.search(r"LOG_LEVEL is invalid: ", output), output
    assert time.monotonic() - start < 35, "it waited for a container that had ended"
    state = inspect("container", day.container())["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 1)
    assert inspect("container", day.container())["RestartCount"] == 0


@pytest.mark.slow  # test_ownership.py calls make as that user in every run
def test_up_takes_the_caller_ids(made: Callable[..., Made]) -> None:
    day = made()
    day.check_make("up", "APP_UID=501", "APP_GID=20")
    assert check_run("docker", "exec", day.container(), "id", "-u", cwd=ROOT).strip() == "501"
    assert check_run("docker", "exec", day.container(), "id", "-g", cwd=ROOT).strip() == "20"
    assert get(day.port, "/health").status == 200


@pytest.mark.parametrize(("framework", "server"), in_every_run(PAIRS[1:], STACKS))
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
    assert terminal.exitstatus == 0, terminal.before  # the exit code of the service
    assert in_flight.finish() == {"200": 20}
    assert run("docker", "ps", "--all", "--quiet", f"--filter=ancestor={day.name}", cwd=ROOT).stdout == ""


def test_down_stops_the_production_container_too(made: Callable[..., Made]) -> None:
    day = made()
    server = day.run_in_terminal()
    assert get(day.port, "/health").status == 200
    server.kill(signal.SIGKILL)  # as if the terminal was closed: the container gets no signal
    day.check_make("down")
    assert run("docker", "ps", "--all", "--quiet", f"--filter=ancestor={day.name}", cwd=ROOT).stdout == ""


@pytest.mark.slow
def test_run_beside_the_development_server_takes_another_port(made: Callable[..., Made]) -> None:
    day = made()
    day.check_make("up")
    output = day.fail_make("run")
    assert re.search(rf":{day.port}\b.*({PORT_IN_USE})", output), output
    server = Made(day.folder, day.name, other_port := free_port()).run_in_terminal()
    try:
        assert get(other_port, "/health").status == get(day.port, "/health").status == 200
    finally:
        server.sendintr()
        server.expect(pexpect.EOF)
        server.close()


@pytest.mark.slow
def test_settings_of_the_caller_do_not_reach_the_tests(made: Callable[..., Made]) -> None:
    day = made()
    (day.folder / ".env").write_text("LOG_LEVEL=loud\nLOG_FORMAT=json\n")
    assert re.search(r"\b[12]\d passed", day.check_make("test"))


@pytest.mark.parametrize("framework", ["flask", *slow(("fastapi",))])
def test_run_names_a_bad_value(framework: str, made: Callable[..., Made]) -> None:
    output = made(framework).fail_make("run", LOG_LEVEL="loud")
    assert len(re.findall(r"^LOG_LEVEL is invalid: .*\.$", output, re.M)) == 1, output
    assert "Traceback" not in output


@pytest.mark.slow
def test_up_names_the_path_that_the_health_check_requests(made: Callable[..., Made]) -> None:
    day = made()
    app, dockerfile = day.package / "app.py", day.folder / "Dockerfile"
    app.write_text(app.read_text().replace('("/health")', '("/up")').replace('("/health",', '("/up",'))
    shorten_health_check(day)
    output = day.fail_make("up")
    assert "/health responded with: HTTP/1.1 404 Not Found" in output
    dockerfile.write_text(dockerfile.read_text().replace("ENV HEALTH_PATH=/health", "ENV HEALTH_PATH=/up"))
    day.check_make("up")
