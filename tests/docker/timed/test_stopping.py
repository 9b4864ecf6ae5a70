"""The stop of the production container: it finishes requests in flight, refuses new connections and runs hooks."""

import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import Container, Image, Load, container, inspect
from tests.support.matrix import CONTAINER_STACKS, in_every_run, slow
from tests.support.template import DEFAULTS, STACKS
from tools.questionnaire import base_image

IN_FLIGHT = 50
SECONDS = 2


@pytest.fixture(scope="module")
def tini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return tini, the program that `docker run --init` starts as process 1."""
    folder = tmp_path_factory.mktemp("tini")
    fetch = "apt-get update -qq && cd /out && apt-get download -qq tini && dpkg --fsys-tarfile tini_*.deb | tar -x"
    image = ("--user=0", f"--volume={folder}:/out", base_image())
    check_run("docker", "run", "--rm", *image, "sh", "-ec", fetch, cwd=ROOT)
    return folder / "usr" / "bin" / "tini"


def stop_under_load(service: Container, signal: str) -> tuple[Counter[str], int, float, str]:
    """Stop a service that has 50 requests in flight.

    Returns:
        The outcomes of the requests, the exit code, the seconds that the stop took, and the result of a new connection.
    """
    service.get("/health")
    address = service.address
    load = Load(service.port, f"/sleep?seconds={SECONDS}", clients=IN_FLIGHT)
    load.start(IN_FLIGHT)
    time.sleep(SECONDS / 2)
    result: list[str] = []

    def connect_late() -> None:
        time.sleep(0.4)
        try:
            with socket.create_connection((address, 8000), timeout=5):
                result.append("accepted")
        except ConnectionRefusedError:
            result.append("refused")

    late_client = threading.Thread(target=connect_late)
    late_client.start()
    code, seconds = service.stop(signal)
    late_client.join()
    return load.finish(), code, seconds, result[0]


def check_stop(service: Container, server: str, signal: str, workers: int) -> None:
    """Stop a service under load and check that no request is lost."""
    outcomes, code, seconds, new_connection = stop_under_load(service, signal)
    log = service.logs()
    assert outcomes == {"200": IN_FLIGHT}, log
    assert code == 0, log
    assert seconds < 4
    # In the other cases, the main process keeps the socket open, and resets new connections when it ends.
    if server == "granian" or (server, workers) == ("uvicorn", 1):
        assert new_connection == "refused"
    # With several workers, uvicorn ends each of them with the signal. Only the lifespan function runs to its end.
    if server != "uvicorn" or workers == 1:
        assert log.count("atexit ran") == workers, log
    assert "Traceback" not in log


# With one worker, uvicorn has no separate main process.
STOPS = [(*stack, 2) for stack in STACKS] + [("fastapi", "uvicorn", 1)]


STOP_CASES = [(*stop, signal) for stop in STOPS for signal in ("SIGTERM", "SIGINT")]
# SIGINT with the default server of each framework.
STOP_CASES_IN_EVERY_RUN = [
    case for case in STOP_CASES if case[-1] == "SIGTERM" or (case[:2] in DEFAULTS.items() and case[2] == 2)
]


@pytest.mark.parametrize(
    ("framework", "server", "workers", "signal"), in_every_run(STOP_CASES_IN_EVERY_RUN, STOP_CASES)
)
def test_stop_finishes_requests_in_flight(framework: str, server: str, workers: int, signal: str, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, f"--env=WEB_CONCURRENCY={workers}") as service:
        check_stop(service, server, signal, workers)
        if framework == "fastapi":
            assert service.logs().count("[info] stopped") == workers


@pytest.mark.parametrize(("framework", "server"), in_every_run(DEFAULTS.items(), STACKS))
def test_stop_under_an_init_process(framework: str, server: str, image: Image, tini: Path) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    command = inspect("image", name)["Config"]["Cmd"]
    options = ("--env=WEB_CONCURRENCY=2", f"--volume={tini}:/tini:ro", "--entrypoint=/tini")
    with container(name, *options, command=("--", "entrypoint.sh", *command)) as service:
        check_stop(service, server, "SIGTERM", workers=2)


def test_stop_under_the_init_process_of_docker(image: Image) -> None:
    if run("docker", "run", "--rm", "--init", base_image(), "true", cwd=ROOT).returncode:
        pytest.skip("this engine has no docker-init; the test above runs the same program, tini, in its place")
    name = image(on_trial=True, framework="fastapi", server="uvicorn")
    with container(name, "--env=WEB_CONCURRENCY=2", "--init") as service:
        check_stop(service, "uvicorn", "SIGTERM", workers=2)


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_stop_ends_requests_after_the_graceful_timeout(framework: str, server: str, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, "--env=GRACEFUL_TIMEOUT=2", "--env=WEB_CONCURRENCY=2") as service:
        service.get("/health")
        load = Load(service.port, "/sleep?seconds=60", clients=1)
        load.start(1)
        time.sleep(0.5)
        code, seconds = service.stop()
        assert code == 0, service.logs()
        assert 2 <= seconds < 4
        (outcome,) = load.finish()
        assert outcome in {"RemoteDisconnected", "ConnectionResetError", "500", "503"}
        if server == "uvicorn":  # Granian kills a worker that does not stop in time
            assert service.logs().count("[info] stopped") == 2


# Exits immediately after a stop signal.
STOPS_AT_ONCE = ("sh", "-c", "trap 'exit 0' TERM INT; sleep 600 & wait")


@pytest.mark.parametrize("signal", ["SIGTERM", *slow(("SIGINT",))])
@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_stop_of_an_idle_container_takes_no_time(framework: str, server: str, signal: str, image: Image) -> None:
    name = image(framework=framework, server=server)
    more = []
    for _ in range(3):  # the best of three, because other processes on the machine can delay a stop
        with container(name, "--no-healthcheck", command=STOPS_AT_ONCE) as shell, container(name) as service:
            service.get("/health")
            code, seconds = service.stop(signal)
            assert code == 0, service.logs()
            more.append(seconds - shell.stop(signal)[1])
        if more[-1] < 2:
            break
    assert min(more) < 2, f"seconds more than a shell takes: {more}"


# Makes the import of the framework take a second. During this second, no exception ends the process.
SLOW_IMPORT = """
import sys
import time


class Slow:
    def find_spec(self, name: str, *_: object) -> None:
        try:
            time.sleep(name in {"flask", "fastapi"})
        except BaseException:
            pass


sys.meta_path.insert(0, Slow())
"""


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_stop_while_workers_import_the_application(framework: str, server: str, image: Image, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir(mode=0o755)
    (slow / "sitecustomize.py").write_text(SLOW_IMPORT)
    options = [f"--volume={slow}:/slow:ro", "--env=PYTHONPATH=/slow", "--env=WEB_CONCURRENCY=2"]
    with container(image(framework=framework, server=server), *options) as service:
        end = time.monotonic() + 10
        while len(service.workers()) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.6)
        code, seconds = service.stop()
        log = service.logs()
        assert code == 0, log
        assert seconds < 4, log
        assert "Traceback" not in log


def test_replacing_workers_loses_no_request(image: Image) -> None:
    name = image(on_trial=True, framework="flask", server="gunicorn")
    with container(name, "--env=MAX_REQUESTS=50", "--env=WEB_CONCURRENCY=2") as service:
        service.get("/health")
        workers = service.workers()
        outcomes: Counter[str] = Counter()
        for _ in range(60):  # each burst on new connections, because an idle connection may end with its worker
            load = Load(service.port, "/sleep?seconds=0.01", clients=8)
            load.start(8)
            outcomes += load.finish()
            workers |= service.workers()
        assert outcomes == {"200": 480}, service.logs()
        assert len(workers) >= 6


def test_retired_worker_finishes_a_long_request(image: Image) -> None:
    """Keep a request in flight for longer than Gunicorn waits for a worker's heartbeat."""
    name = image(on_trial=True, framework="flask", server="gunicorn")
    timeout = ("--env=GUNICORN_CMD_ARGS=--timeout=4", "--env=WEB_CONCURRENCY=1")
    with container(name, *timeout, "--env=MAX_REQUESTS=3") as service:
        load = Load(service.port, "/sleep?seconds=8", clients=1)
        service.get("/health")
        load.start(1)
        for _ in range(5):
            service.get("/health")
        assert load.finish() == {"200": 1}, service.logs()
        assert "TIMEOUT" not in service.logs()


# Granian does not wait for such work: see docs/servers.md.
@pytest.mark.parametrize("workers", [1, 2])
def test_work_after_the_response_is_finished_by_uvicorn(workers: int, image: Image) -> None:
    name = image(on_trial=True, framework="fastapi", server="uvicorn")
    with container(name, f"--env=WEB_CONCURRENCY={workers}") as service:
        assert service.get("/later").text == '"accepted"'
        code, seconds = service.stop("SIGTERM")
        log = service.logs()
    assert (code, log.count("worked after the response")) == (0, 1), log
    assert seconds < 8
