"""What the production container does when something goes wrong in it, or comes at it."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from scripts.servers import MEMORY
from tests.conftest import STACKS, Image, Render
from tests.docker import HARDENED, Load, ask, container

pytestmark = pytest.mark.docker

KILL = "import os, signal, sys; os.kill(int(sys.argv[1]), signal.SIGKILL)"


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_killed_worker_is_replaced(framework: str, server: str, image: Image) -> None:
    clients = 8
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, "--env=WEB_CONCURRENCY=2") as service:
        service.get("/health")
        load = Load(service.port, "/sleep?seconds=0.01", clients)
        load.start(1200)
        time.sleep(1)
        before = service.workers()
        service.execute("python", "-c", KILL, str(max(before)))
        outcomes = load.finish()
        # A client whose request was cut may connect once more before the kernel has closed the worker's own socket.
        assert outcomes["200"] >= 1200 - 2 * clients, outcomes
        assert len(service.workers() - before) == 1
        answering = {service.get("/who").json()["pid"] for _ in range(40)}
        assert len(answering) == 2
        assert str(max(before)) not in answering
        assert service.stop()[0] == 0


FAULTS = [(*stack, "import") for stack in STACKS] + [(*stack, "lifespan") for stack in STACKS if stack[0] == "fastapi"]


@pytest.mark.parametrize(("framework", "server", "fault"), FAULTS)
def test_service_that_does_not_start_ends_the_container(framework: str, server: str, fault: str, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, f"--env=TRIAL_FAULT={fault}", "--env=WEB_CONCURRENCY=2") as service:
        assert service.wait(seconds=20) != 0
        log = service.logs()
        assert "Traceback (most recent call last):" in log
        assert re.search(r"RuntimeError: planted$", log, re.M), log
        assert len(service.workers()) == 2, log


@pytest.mark.parametrize("options", [["--shm-size=64k"], ["--tmpfs=/tmp:size=64k"]], ids=["small-shm", "full-tmp"])
@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_service_needs_no_room(framework: str, server: str, options: list[str], image: Image) -> None:
    with container(image(framework=framework, server=server), *HARDENED, *options) as service:
        service.get("/health")
        service.execute("sh", "-c", "head -c 1M /dev/zero >/tmp/file || true")
        assert [service.get("/", seconds=5).status for _ in range(20)] == [200] * 20
        assert service.stop()[0] == 0, service.logs()


BROKEN_OUTPUTS = {
    "closed": "exec entrypoint.sh >&-",
    "closed-both": "exec entrypoint.sh >&- 2>&-",
    "nobody-reads": "mkfifo /tmp/pipe; head -n 1 /tmp/pipe >/dev/null & exec entrypoint.sh >/tmp/pipe",
}


@pytest.mark.parametrize("script", BROKEN_OUTPUTS.values(), ids=BROKEN_OUTPUTS)
@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_service_without_an_output_serves(framework: str, server: str, script: str, image: Image) -> None:
    with container(image(framework=framework, server=server), command=("sh", "-c", script)) as service:
        assert service.get("/health", seconds=10).status == 200
        assert [service.get("/", seconds=5).status for _ in range(20)] == [200] * 20
        code, seconds = service.stop()
        assert seconds < 4
        assert code == 0


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_memory_does_not_grow(framework: str, server: str, image: Image) -> None:
    """Send as many requests as ten a second are in ten minutes, after as many again to warm up."""
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


# A request, and what may come back: a status, or nothing where the connection is closed instead of a refusal.
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
    """Send bytes to a service on loopback, and return what comes back within two seconds, if anything does."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection, suppress(OSError):
        connection.sendall(request)
        while data := connection.recv(65536):
            answer += data
            connection.settimeout(0.2)
    return answer


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_bad_requests_are_refused(framework: str, server: str, image: Image) -> None:
    with container(image(on_trial=True, framework=framework, server=server), "--env=WEB_CONCURRENCY=1") as service:
        service.get("/health")
        met = {}
        for name, (request, _) in REQUESTS.items():
            answer = send(service.port, request)
            assert b"root:" not in answer, name
            met[name] = answer.split(b" ")[1][:3] if answer.startswith(b"HTTP/1") else b""
            assert service.get("/health", seconds=2).status == 200, name
        assert {name: status for name, status in met.items() if status and status not in REQUESTS[name][1]} == {}
        assert {name for name, status in met.items() if not status} & {"no-host", "two-hosts", "strange-host"} == set()
        assert service.workers() == {int(service.get("/who").json()["pid"])}, "a request ended the worker"
        assert "Traceback" not in service.logs()


@contextmanager
def slow_clients(port: int, count: int, seconds: float) -> Iterator[None]:
    """Keep connections open that send the head of a request letter by letter, and never finish it."""
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


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_hundred_slow_clients_keep_nobody_out(framework: str, server: str, image: Image) -> None:
    with container(image(framework=framework, server=server), "--env=WEB_CONCURRENCY=1") as service:
        service.get("/health")
        with slow_clients(service.port, count=100, seconds=0.1):
            time.sleep(2)
            for _ in range(20):
                start = time.monotonic()
                assert ask(service.port, seconds=5).status == 200
                assert time.monotonic() - start < 1
                time.sleep(0.1)


def test_client_that_never_asks_is_dropped(image: Image, render: Render, tmp_path: Path) -> None:
    """Shorten the patience of Uvicorn's protocol, and see that it ends; Granian's and Gunicorn's own are theirs."""
    settings = (render(framework="fastapi") / "gunicorn.conf.py").read_text()
    impatient = tmp_path / "gunicorn.conf.py"
    impatient.write_text(settings.replace("SECONDS_FOR_A_HEAD = 20", "SECONDS_FOR_A_HEAD = 1"))
    with container(image(framework="fastapi"), f"--volume={impatient}:/app/gunicorn.conf.py:ro") as service:
        service.get("/health")
        for said in (b"", b"GET / HTTP/1.1\r\nHost: loc", b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /"):
            with socket.create_connection((service.address, 8000), timeout=5) as connection:
                connection.sendall(said)
                start = time.monotonic()
                while connection.recv(65536):
                    pass
                assert 0.5 < time.monotonic() - start < 4, said


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_production_has_no_debugger(framework: str, server: str, image: Image) -> None:
    asked = [f"--env={name}=1" for name in ("FLASK_DEBUG", "DEBUG", "PYTHONINSPECT", "PYTHONDEVMODE")]
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, *asked, "--env=FLASK_ENV=development", "--interactive") as service:
        answer = service.get("/boom")
        assert answer.status == 500
        assert not re.search("traceback|planted|debugger|console", answer.text, re.I), answer.text
        assert service.get("/console").status == 404
        assert "debugger" not in service.get("/?__debugger__=yes&cmd=resource&f=debugger.js").text.lower()
        assert service.stop()[0] == 0, service.logs()
        assert ">>>" not in service.logs()
