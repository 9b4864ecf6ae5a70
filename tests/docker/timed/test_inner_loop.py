"""Save and reload: how long it takes to serve an edit, and how the development server handles errors and streams."""

import os
import re
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run
from tests.support.docker import get, seconds_until
from tests.support.made import Made
from tests.support.matrix import in_every_run, slow
from tests.support.template import STACKS
from tools.measuring import add_routes

# Flask's development server is the same with both production servers.
DEVELOPMENT_SERVERS = [("fastapi", "uvicorn"), *slow(("flask", "gunicorn"), ("fastapi", "granian"))]

ROUTES = {
    "flask": """

@routes.get("/page")
def page() -> str:
    from flask import render_template

    return render_template("page.html")
""",
    "fastapi": """

from pathlib import Path

from starlette.requests import Request
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
templates = Jinja2Templates(directory=Path(__file__).parent / "templates")


@app.get("/page")
def page(request: Request):
    return templates.TemplateResponse(request, "page.html")
""",
}


def add_files(day: Made, framework: str) -> Path:
    """Add a route that renders a template, and a static file. Return the package."""
    package = day.package
    for folder, file in (("templates", "page.html"), ("static", "page.css")):
        (package / folder).mkdir()
        (package / folder / file).write_text("first")
    app = package / "app.py"
    text = app.read_text()
    if framework == "flask":
        app.write_text(text.replace('\n\n@routes.get("/health")', ROUTES["flask"] + '\n\n@routes.get("/health")'))
    else:
        app.write_text(text + ROUTES["fastapi"])
        day.check_make("add", "PKG=jinja2")
    return package


def replace(file: Path, text: str) -> None:
    """Save a file as many editors do: write another file, then rename it."""
    other = file.with_name(f".{file.name}.new")
    other.write_text(text)
    os.replace(other, file)


SAVES: list[Callable[[Path, str], object]] = [Path.write_text, replace]
# Prints how many inotify instances the processes of a container have: with inotify, they need not poll.
WATCHED = (
    "import pathlib; fds = pathlib.Path('/proc').glob('[0-9]*/fd/*'); "
    "print(sum('inotify' in str(fd.readlink()) for fd in fds if fd.is_symlink()))"
)


def processes(day: Made) -> int:
    """Return the number of processes of the service, excluding a running health check."""
    lines = check_run("docker", "top", day.container(), cwd=ROOT).splitlines()
    return len([line for line in lines if "healthcheck.py" not in line])


@pytest.mark.parametrize(("framework", "server"), DEVELOPMENT_SERVERS)
def test_saved_files_are_served(framework: str, server: str, made: Callable[..., Made]) -> None:
    day = made(framework, server)
    package = add_files(day, framework)
    day.check_make("up")
    app = package / "app.py"
    text = app.read_text()
    at_rest = processes(day)
    assert int(check_run("docker", "exec", day.container(), "python", "-c", WATCHED, cwd=ROOT)) > 0

    seconds = []
    for number, save in enumerate(SAVES * 3):
        save(app, text.replace('"/health"', f'"/health-{number}"'))
        seconds.append(seconds_until('"ok"', day.port, f"/health-{number}"))
    print(f"saved to served, {framework} with {server}: {[round(one, 2) for one in seconds]} s")
    assert min(seconds) < 1, seconds  # the others may wait for another test's build
    assert statistics.median(seconds) < 2, seconds

    for folder, path in (("templates", "/page"), ("static", "/static/page.css")):
        (file,) = (package / folder).iterdir()
        assert get(day.port, path).text == "first"
        file.write_text("second")
        assert seconds_until("second", day.port, path) < 2, path

    app.write_text("def broken(:\n")
    log = ""
    deadline = time.monotonic() + 10
    while "SyntaxError" not in log and time.monotonic() < deadline:
        log = check_run("docker", "logs", day.container(), cwd=ROOT)
    assert re.search(r'File "/app/src/\w+/app.py", line 1', log), log
    app.write_text(text)
    assert seconds_until('"ok"', day.port, "/health") < 2

    for number in range(6):  # a second save while the first one is being loaded
        app.write_text(text)
        time.sleep(number * 0.1)
        app.write_text(text.replace('"/health"', f'"/second-{number}"'))
        assert seconds_until('"ok"', day.port, f"/second-{number}") < 3, number
    app.write_text(text)
    assert seconds_until('"ok"', day.port, "/health") < 2
    time.sleep(2)  # a process that was not stopped would be visible by now
    assert processes(day) == at_rest
    assert check_run("docker", "logs", day.container(), cwd=ROOT).count("address already in use") == 0


STREAMS = {
    "flask": """

@routes.get("/events")
def events() -> object:
    import time
    from flask import Response

    def stream():
        while True:
            yield "data: tick\\n\\n"
            time.sleep(0.1)

    return Response(stream(), mimetype="text/event-stream")
""",
    "fastapi": """

@app.get("/events")
async def events() -> object:
    import asyncio
    from fastapi.responses import StreamingResponse

    async def stream():
        while True:
            yield "data: tick\\n\\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(stream(), media_type="text/event-stream")
""",
}


@contextmanager
def endless_response(port: int) -> Iterator[socket.socket]:
    """Request a response that never ends, and keep it open after its first event has arrived."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while b"data: tick" not in received:
            block = client.recv(4096)
            assert block, f"the server closed the connection: {received!r}"
            received += block
        yield client


@pytest.mark.parametrize(("framework", "server"), in_every_run([("fastapi", "uvicorn")], STACKS))
def test_endless_response_delays_neither_reload_nor_stop(
    framework: str, server: str, made: Callable[..., Made]
) -> None:
    day = made(framework, server)
    app = add_routes(day.folder, STREAMS[framework])
    text = app.read_text()
    day.check_make("up")
    reloads = []
    for number in range(3):
        with endless_response(day.port):
            app.write_text(text.replace('"/health"', f'"/health-{number}"'))
            reloads.append(seconds_until('"ok"', day.port, f"/health-{number}"))
    print(f"saved to served during a stream, {framework} with {server}: {[round(one, 2) for one in reloads]} s")
    assert min(reloads) < 2.5, reloads  # the others may wait for another test's build
    assert max(reloads) < 5, reloads

    with endless_response(day.port):
        start = time.monotonic()
        check_run("docker", "stop", "--timeout=60", day.container(), cwd=ROOT)
        stopped = time.monotonic() - start
    print(f"stopped during a stream, {framework} with {server}: {stopped:.2f} s")
    assert stopped < 3
