"""Save and reload: how long an edit takes to be served, and what the development server makes of mistakes."""

import os
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import ROOT, check_run
from tests.docker import get, seconds_until
from tests.made import Made

pytestmark = pytest.mark.docker

# Flask's development server is the same, whichever serves in production.
DEVELOPMENT_SERVERS = [("flask", "gunicorn"), ("fastapi", "gunicorn"), ("fastapi", "granian")]

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
    """Give a project a page of a template and a static file, and return its package."""
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
    """Save a file as many editors do: write another, and give it the name."""
    other = file.with_name(f".{file.name}.new")
    other.write_text(text)
    os.replace(other, file)


SAVES: list[Callable[[Path, str], object]] = [Path.write_text, replace]
# Prints how many files the processes of a container watch with inotify, which needs no polling.
WATCHED = (
    "import pathlib; fds = pathlib.Path('/proc').glob('[0-9]*/fd/*'); "
    "print(sum('inotify' in str(fd.readlink()) for fd in fds if fd.is_symlink()))"
)


def processes(day: Made) -> int:
    """Return how many processes the service has."""
    return len(check_run("docker", "top", f"{day.name}-app-1", cwd=ROOT).splitlines())


@pytest.mark.parametrize(("framework", "server"), DEVELOPMENT_SERVERS)
def test_what_is_saved_is_served(framework: str, server: str, made: Callable[..., Made]) -> None:
    day = made(framework, server)
    package = add_files(day, framework)
    day.check_make("up")
    app = package / "app.py"
    text = app.read_text()
    at_rest = processes(day)
    assert int(check_run("docker", "exec", f"{day.name}-app-1", "python", "-c", WATCHED, cwd=ROOT)) > 0

    seconds = []
    for number, save in enumerate(SAVES * 3):
        save(app, text.replace('"/health"', f'"/health-{number}"'))
        seconds.append(seconds_until('"ok"', day.port, f"/health-{number}"))
    print(f"saved to served, {framework} with {server}: {[round(one, 2) for one in seconds]} s")
    assert statistics.median(seconds) < 1, seconds

    for folder, path in (("templates", "/page"), ("static", "/static/page.css")):
        (file,) = (package / folder).iterdir()
        assert get(day.port, path).text == "first"
        file.write_text("second")
        assert seconds_until("second", day.port, path) < 1, path

    app.write_text("def broken(:\n")
    log = ""
    deadline = time.monotonic() + 10
    while "SyntaxError" not in log and time.monotonic() < deadline:
        log = check_run("docker", "logs", f"{day.name}-app-1", cwd=ROOT)
    assert re.search(r'File "/app/src/\w+/app.py", line 1', log), log
    app.write_text(text)
    assert seconds_until('"ok"', day.port, "/health") < 2

    for number in range(6):  # a second save at any time while the first is being loaded
        app.write_text(text)
        time.sleep(number * 0.1)
        app.write_text(text.replace('"/health"', f'"/second-{number}"'))
        assert seconds_until('"ok"', day.port, f"/second-{number}") < 3, number
    app.write_text(text)
    assert seconds_until('"ok"', day.port, "/health") < 2
    time.sleep(2)  # for a server too many to show
    assert processes(day) == at_rest
    assert check_run("docker", "logs", f"{day.name}-app-1", cwd=ROOT).count("address already in use") == 0
