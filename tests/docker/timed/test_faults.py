"""Faults of the production container: killed workers, failed starts, full disks and hostile clients."""

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest

from tests.support.commands import ROOT, check_run
from tests.support.docker import HARDENED, Container, Image, Load, ask, container, inspect
from tests.support.matrix import CONTAINER_STACKS, in_every_run, slow
from tests.support.template import STACKS
from tools.measuring import MEMORY

KILL = "import os, signal, sys; os.kill(int(sys.argv[1]), signal.SIGKILL)"


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_killed_worker_is_replaced(framework: str, server: str, image: Image) -> None:
    clients = 8
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, "--env=WEB_CONCURRENCY=2") as service:
        service.get("/health")
        deadline = time.monotonic() + 20
        while len(before := service.workers()) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        load = Load(service.port, "/sleep?seconds=0.01", clients)
        load.start(1200)
        time.sleep(1)
        service.execute("python", "-c", KILL, str(max(before)))
        outcomes = load.finish()
        # A client whose request failed may connect again before the kernel has closed the socket of the killed worker.
        assert outcomes["200"] >= 1200 - 2 * clients, outcomes
        assert len(service.workers() - before) == 1
        deadline = time.monotonic() + 20
        while len(serving := {service.get("/who").json()["pid"] for _ in range(40)}) < 2:
            assert time.monotonic() < deadline, "the new worker handles no request"
        assert str(max(before)) not in serving
        assert service.stop()[0] == 0


# Stack, fault and number of workers. With several workers, only Gunicorn exits: see docs/deploy.md of the project.
FAILED_STARTS = [
    *((*stack, "import", 1) for stack in STACKS),
    *((*stack, "lifespan", 1) for stack in STACKS if stack[0] == "fastapi"),
    ("flask", "gunicorn", "import", 2),
]


@pytest.mark.parametrize(("framework", "server", "fault", "workers"), FAILED_STARTS)
def test_service_that_does_not_start_ends_the_container(
    framework: str, server: str, fault: str, workers: int, image: Image
) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, f"--env=TRIAL_FAULT={fault}", f"--env=WEB_CONCURRENCY={workers}") as service:
        assert service.wait(seconds=20) != 0
        log = service.logs()
        assert "Traceback (most recent call last):" in log
        assert "RuntimeError: planted" in log
        if server == "gunicorn":
            assert log.count("Booting worker") == workers, log


@pytest.mark.parametrize("options", [["--shm-size=64k"], ["--tmpfs=/tmp:size=64k"]], ids=["small-shm", "full-tmp"])
@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_service_needs_no_disk_space(framework: str, server: str, options: list[str], image: Image) -> None:
    with container(image(framework=framework, server=server), *HARDENED, *options) as service:
        service.get("/health")
        service.execute("sh", "-c", "head -c 1M /dev/zero >/tmp/file || true")
        assert [service.get("/", seconds=5).status for _ in range(20)] == [200] * 20
        assert service.stop()[0] == 0, service.logs()


BROKEN_OUTPUTS = {
    "closed": 'exec entrypoint.sh "$@" >&-',
    "closed-both": 'exec entrypoint.sh "$@" >&- 2>&-',
    "nobody-reads": 'mkfifo /tmp/pipe; head -n 1 /tmp/pipe >/dev/null & exec entrypoint.sh "$@" >/tmp/pipe',
}


# With both outputs closed, uvicorn's pipes to its workers get their file descriptors, and a stop may take 6 s.
OUTPUT_CASES = [
    (*stack, output)
    for stack in STACKS
    for output in BROKEN_OUTPUTS
    if (stack[1], output) != ("uvicorn", "closed-both")
]


# Flask with Granian runs only every week, because other cases cover both.
OUTPUT_CASES_IN_EVERY_RUN = [case for case in OUTPUT_CASES if case[:2] != ("flask", "granian")]


@pytest.mark.parametrize(("framework", "server", "output"), in_every_run(OUTPUT_CASES_IN_EVERY_RUN, OUTPUT_CASES))
def test_service_without_an_output_serves(framework: str, server: str, output: str, image: Image) -> None:
    script = BROKEN_OUTPUTS[output]
    name = image(framework=framework, server=server)
    command = ("sh", "-c", script, "sh", *inspect("image", name)["Config"]["Cmd"])
    with container(name, command=command) as service:
        assert service.get("/health", seconds=10).status == 200
        assert [service.get("/", seconds=5).status for _ in range(20)] == [200] * 20
        code, seconds = service.stop()
        assert seconds < 4
        assert code == 0


@pytest.mark.parametrize(("framework", "server"), in_every_run([("fastapi", "uvicorn")], STACKS))
def test_memory_does_not_grow(framework: str, server: str, image: Image) -> None:
    """Send 6000 requests, as many as in ten minutes at ten per second, after the same number to warm up."""
    name = image(on_trial=True, framework=framework, server=server)
    with container(
        name, "--env=WEB_CONCURRENCY=1", "--env=LOG_LEVEL=warning", "--user=0", "--cap-add=SYS_PTRACE"
    ) as service:
        service.get("/health")
        used = []
        for _ in range(2):
            load = Load(service.port, "/who")
            load.start(6000)
            assert load.finish() == {"200": 6000}, service.logs()[-3000:]
            used.append(int(service.execute("python", "-c", MEMORY)))
        assert used[1] <= used[0] * 1.1, used


# Requests, and the valid statuses of the response. A server may also close the connection without a response.
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
REQUESTS: dict[str, tuple[bytes, set[bytes]]] = {
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), {b"400"}),
    "no-version": (b"GET /\r\n\r\n", {b"400", b"505", b"200"}),
    "no-host": (b"GET / HTTP/1.1\r\n\r\n", {b"400", b"200"}),
    "unknown-method": (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", {b"400", b"405", b"501"}),
    "bad-length": (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", {b"400"}),
    "smuggled": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        {b"400", b"405"},
    ),
    "bad-chunk": (CHUNKED + b"zz\r\n", {b"400", b"405"}),
    "trailers-of-megabytes": (CHUNKED + b"1\r\na\r\n0\r\n" + b"X: a\r\n" * 2**20 + b"\r\n", {b"400", b"405", b"431"}),
    "nul-in-a-header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", {b"400"}),
    "header-of-a-megabyte": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2**20 + b"\r\n\r\n", {b"400", b"431"}),
    "hundred-thousand-headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 100000 + b"\r\n", {b"400", b"431"}),
    "path-of-a-megabyte": (b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: a\r\n\r\n", {b"400", b"414", b"431"}),
    "traversal": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", {b"400", b"404"}),
    "encoded-traversal": (b"GET /%2e%2e/%2e%2e%2fetc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", {b"400", b"404"}),
    "double-slash": (b"GET //etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", {b"400", b"404", b"308"}),
    "strange-host": (b"GET / HTTP/1.1\r\nHost: a@b/../c?d#e\r\n\r\n", {b"400", b"200"}),
    "two-hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {b"400", b"200"}),
}


def send(port: int, request: bytes) -> bytes:
    """Send bytes to a service on loopback, and return the bytes that it sends within two seconds."""
    response = b""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection, suppress(OSError):
        connection.sendall(request)
        while data := connection.recv(65536):
            response += data
            connection.settimeout(0.2)
    return response


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_bad_requests_are_refused(framework: str, server: str, image: Image) -> None:
    with container(image(on_trial=True, framework=framework, server=server), "--env=WEB_CONCURRENCY=1") as service:
        service.get("/health")
        workers = service.workers()
        statuses, with_traceback, tracebacks = {}, set(), 0
        for name, (request, _) in REQUESTS.items():
            response = send(service.port, request)
            assert b"root:" not in response, name
            statuses[name] = response.split(b" ")[1][:3] if response.startswith(b"HTTP/1") else b""
            assert service.get("/health", seconds=2).status == 200, name
            if (count := service.logs().count("Traceback")) > tracebacks:
                with_traceback.add(name)
                tracebacks = count
        assert {name: status for name, status in statuses.items() if status and status not in REQUESTS[name][1]} == {}
        assert statuses["two-hosts"] == (b"200" if server == "granian" else b"400")
        silent = {name for name, status in statuses.items() if not status}
        assert silent & {"no-host", "two-hosts", "strange-host"} == set()
        assert workers == service.workers() == {int(service.get("/who").json()["pid"])}, "a request ended the worker"
        # h11 refuses to send a response to a request with a bad body, and uvicorn logs the exception.
        bad_bodies = {"bad-chunk", "trailers-of-megabytes"}
        assert with_traceback <= (bad_bodies if server == "uvicorn" else set()), service.logs()


@contextmanager
def slow_clients(port: int, count: int, seconds: float) -> Iterator[None]:
    """Keep connections open that send the headers of a request byte by byte, and never finish them."""
    enough = threading.Event()
    connections = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(count)]

    def send_slowly() -> None:
        letters = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * 1000
        for letter in letters:
            for connection in connections:
                with suppress(OSError):
                    connection.send(bytes([letter]))
            if enough.wait(seconds):
                return

    sender = threading.Thread(target=send_slowly)
    sender.start()
    try:
        yield
    finally:
        enough.set()
        sender.join()
        for connection in connections:
            connection.close()


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_hundred_slow_clients_block_no_other_client(framework: str, server: str, image: Image) -> None:
    with container(image(framework=framework, server=server), "--env=WEB_CONCURRENCY=1") as service:
        service.get("/health")
        with slow_clients(service.port, count=100, seconds=0.1):
            time.sleep(2)
            for _ in range(20):
                start = time.monotonic()
                assert ask(service.port, seconds=5).status == 200
                assert time.monotonic() - start < 1
                time.sleep(0.1)


@contextmanager
def stalled_clients(service: Container, count: int, sent: bytes) -> Iterator[None]:
    """Keep connections to a service open that send these bytes and nothing more, without Docker's port forwarding."""
    address = (service.address, 8000)  # which takes a command of Docker
    with ExitStack() as connections:
        for _ in range(count):
            connection = socket.create_connection(address, timeout=5)
            connections.enter_context(closing(connection)).sendall(sent)
        yield


# More than the default of GRANIAN_BACKPRESSURE, which counts connections.
@pytest.mark.parametrize(
    ("framework", "server", "count"),
    [
        ("fastapi", "uvicorn", 1500),
        ("fastapi", "granian", 1500),
        ("flask", "gunicorn", 120),
        *slow(("flask", "granian", 1500)),
    ],
)
def test_idle_connections_block_no_other_client(framework: str, server: str, count: int, image: Image) -> None:
    with container(image(framework=framework, server=server), "--env=WEB_CONCURRENCY=1") as service:
        service.get("/health")
        with stalled_clients(service, count, b""):
            assert [service.get("/", seconds=2).status for _ in range(20)] == [200] * 20


@pytest.mark.parametrize(("framework", "server"), slow(*STACKS))
def test_part_of_the_next_request_does_not_cut_a_response(framework: str, server: str, image: Image) -> None:
    with container(image(on_trial=True, framework=framework, server=server)) as service:
        service.get("/health")
        with socket.create_connection((service.address, 8000), timeout=60) as connection:
            connection.sendall(b"GET /sleep?seconds=25 HTTP/1.1\r\nHost: a\r\n\r\nGET /who HTTP/1.1\r\nHo")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
def test_stalled_requests_block_gunicorn_until_the_clients_leave(image: Image) -> None:
    """Check the limit that docs/deploy.md of the project states: 128 of them make the container unhealthy."""
    with container(image(framework="flask", server="gunicorn"), "--env=WEB_CONCURRENCY=1") as service:
        assert service.health() == "healthy"
        with stalled_clients(service, 130, b"GET / HTTP/1.1\r\nHost: a\r\nX: "):
            assert service.health(unlike="healthy", seconds=60) == "unhealthy"
        assert service.health(unlike="unhealthy", seconds=30) == "healthy"
        assert service.get("/").status == 200


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_endless_headers_are_refused(framework: str, server: str, image: Image) -> None:
    """Send headers until the server closes the connection, which must not take more than 8 MB."""
    sent, headers = 0, b"X-Endless: " + b"a" * 4000 + b"\r\n"
    with container(image(framework=framework, server=server), "--env=WEB_CONCURRENCY=1") as service:
        service.get("/health")
        # Without Docker's port forwarding, which would accept data that the server does not read.
        with socket.create_connection((service.address, 8000), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
            with suppress(ConnectionResetError, BrokenPipeError):
                while sent < 64 * 2**20:
                    connection.sendall(headers)
                    sent += len(headers)
        assert sent < 8 * 2**20
        assert service.get("/health", seconds=2).status == 200


# Print the keep-alive timeout that a server takes from the environment and its settings file.
KEEP_ALIVE = {
    "gunicorn": "gunicorn --print-config | grep '^keepalive '",
    "uvicorn": "python -c 'import uvicorn; "
    'print(uvicorn.main.make_context("uvicorn", ["a:b"]).params["timeout_keep_alive"])\'',
}


@pytest.mark.parametrize("server", KEEP_ALIVE)
def test_idle_connections_have_a_timeout_of_75_seconds(server: str, image: Image) -> None:
    (framework,) = (framework for framework, name in STACKS if name == server)
    command = ("run", "--rm", image(framework=framework, server=server), "sh", "-c", KEEP_ALIVE[server])
    assert check_run("docker", *command, cwd=ROOT).split()[-1] == "75"


def get_on(connection: http.client.HTTPConnection) -> int:
    """Send a request on an open connection, and return the status of the response."""
    socket_before = connection.sock
    connection.request("GET", "/")
    response = connection.getresponse()
    response.read()
    assert connection.sock is socket_before, "the connection was not kept"
    return response.status


@pytest.fixture
def connections(image: Image) -> Iterator[dict[tuple[str, str], http.client.HTTPConnection]]:
    """Return an open connection to a service of each stack, after one request."""
    with ExitStack() as exit_stack:
        services = {
            stack: exit_stack.enter_context(container(image(framework=stack[0], server=stack[1]))) for stack in STACKS
        }
        opened = {}
        for stack, service in services.items():
            service.get("/health")
            connection = http.client.HTTPConnection(service.address, 8000, timeout=5)
            connection.connect()
            opened[stack] = exit_stack.enter_context(closing(connection))
        assert {stack: get_on(connection) for stack, connection in opened.items()} == dict.fromkeys(STACKS, 200)
        yield opened


def test_idle_connection_stays_open(connections: dict[tuple[str, str], http.client.HTTPConnection]) -> None:
    time.sleep(10)
    assert {stack: get_on(connection) for stack, connection in connections.items()} == dict.fromkeys(STACKS, 200)


@pytest.mark.slow
def test_idle_connection_is_closed_after_its_timeout(
    connections: dict[tuple[str, str], http.client.HTTPConnection],
) -> None:
    """Wait until shortly before the timeout, then until after it. Granian allows no more than 60 s."""
    timeouts = {stack: 60 if stack[1] == "granian" else 75 for stack in STACKS}
    start, errors = time.monotonic(), {}
    for stack in sorted(STACKS, key=timeouts.__getitem__):
        time.sleep(max(0, start + timeouts[stack] - 2 - time.monotonic()))
        try:
            get_on(connections[stack])
        except (OSError, http.client.HTTPException) as error:
            errors[stack] = repr(error)
    assert errors == {}, "closed before the timeout"
    time.sleep(80)
    for stack, connection in connections.items():
        assert connection.sock.recv(1) == b"", stack


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_production_has_no_debugger(framework: str, server: str, image: Image) -> None:
    variables = [f"--env={name}=1" for name in ("FLASK_DEBUG", "DEBUG", "PYTHONDEVMODE")]
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, *variables, "--env=FLASK_ENV=development", "--interactive") as service:
        response = service.get("/boom")
        assert response.status == 500
        assert not re.search("traceback|planted|debugger|console", response.text, re.I), response.text
        assert service.get("/console").status == 404
        assert "debugger" not in service.get("/?__debugger__=yes&cmd=resource&f=debugger.js").text.lower()
        assert service.stop()[0] == 0, service.logs()
        assert ">>>" not in service.logs()
