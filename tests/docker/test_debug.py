"""`make debug`: a real debugger attaches as `.vscode/launch.json` says, and stops at a breakpoint."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.debugger import Debugger, Stop, configuration
from tests.support.docker import free_port, get, inspect
from tests.support.made import Made
from tests.support.matrix import slow
from tools.questionnaire import base_image


@contextmanager
def debugged(day: Made, port: int) -> Iterator["pexpect.spawn[str]"]:
    """Run `make debug` in a new terminal, and press Ctrl-C at the end."""
    env = os.environ | {"PORT": str(day.port), "DEBUG_PORT": str(port)}
    terminal = pexpect.spawn("make", ["debug"], cwd=day.folder, env=env, encoding="utf-8", timeout=180)
    # A process blocks if nobody reads the terminal that it writes to.
    reader = threading.Thread(target=terminal.expect, args=(pexpect.EOF,), kwargs={"timeout": 300}, daemon=True)
    reader.start()
    try:
        yield terminal
    finally:
        terminal.sendintr()
        reader.join(timeout=60)
        terminal.close()


def published_ports(name: str) -> str:
    """Return the published ports of a container when it is healthy, or an empty string after a minute."""
    filters = (f"--filter=name={name}", "--filter=health=healthy")
    for _ in range(120):
        if ports := check_run("docker", "ps", *filters, "--format={{.Ports}}", cwd=ROOT):
            return ports
        time.sleep(0.5)
    return ""


# Prints which of the ports of the given hosts accept a connection.
CONNECT = """
import socket, sys
for address in sys.argv[1:]:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        print(address)
    except OSError:
        pass
"""


def reachable_from_a_neighbor(name: str) -> set[str]:
    """Return the ports of `make debug` that another container in the network of a project can connect to."""
    (debug,) = check_run("docker", "ps", "--quiet", f"--filter=name={name}-debug", cwd=ROOT).split()
    networks = inspect("container", debug)["NetworkSettings"]["Networks"]
    hosts = ["debug", "debugger", *(network["IPAddress"] for network in networks.values())]
    addresses = [f"{host}:{port}" for host in hosts for port in (5678, 8000)]
    command = ("python", "-c", CONNECT, *addresses)
    found = check_run("docker", "run", "--rm", f"--network={name}_default", base_image(), *command, cwd=ROOT).split()
    return {address.partition(":")[2] for address in found}


@contextmanager
def requests(port: int) -> Iterator[None]:
    """Send requests continuously, because it is unknown when the debugger sets the breakpoint in the process."""
    done = threading.Event()

    def send() -> None:
        while not done.wait(0.2):
            assert get(port, seconds=60).status == 200

    client = threading.Thread(target=send)
    client.start()
    try:
        yield
    finally:
        done.set()
        client.join(timeout=60)


def line_of(file: Path, text: str) -> int:
    """Return the number of the first line of a file that contains a text."""
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("framework", "server", "marker"),
    [
        ("fastapi", "uvicorn", '"version": app.version}'),
        *slow(
            ("flask", "gunicorn", '"version": VERSION}'),
            ("fastapi", "granian", '"version": app.version}'),
        ),
    ],
)
def test_debugger_stops_at_a_breakpoint(framework: str, server: str, marker: str, made: Callable[..., Made]) -> None:
    day = made(framework, server)
    day.check_make("up")  # `make debug` replaces it
    app = day.package / "app.py"
    port = free_port()
    with debugged(day, port):
        ports = published_ports(f"{day.name}-debug")
        assert {port.split(":")[0] for port in ports.split(", ") if "->" in port} == {"127.0.0.1"}
        assert reachable_from_a_neighbor(day.name) == {"8000"}
        debugger = Debugger(configuration(day.folder, port), Stop(str(app), line_of(app, marker)))
        try:
            for _ in ("as it started", "reloaded"):
                with requests(day.port):
                    assert debugger.wait() == (str(app), line_of(app, marker))
                with app.open("a") as text:
                    text.write("# edited\n")
        finally:
            debugger.close()
    listed = run("docker", "ps", "--all", "--quiet", f"--filter=name={day.name}-debug", cwd=ROOT)
    assert listed.stdout == "", "Ctrl-C removes the container"
    assert day.changed_files() == [f"src/{app.parent.name}/app.py"]
