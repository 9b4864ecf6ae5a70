"""Routes that wait, block, fail or describe the request, and faults that tests can cause in a rendered project."""

import json
from pathlib import Path

from tools.measuring import add_routes

# A file in the container. While it exists, check_dependencies() raises.
BROKEN_DEPENDENCY = "/tmp/broken"
# Added to app.py. TRIAL_FAULT makes the service fail while it starts.
ROUTES = {
    "fastapi": """

import asyncio, atexit, os, time
from fastapi import BackgroundTasks, Request
from fastapi.responses import RedirectResponse

atexit.register(lambda: log.info("atexit ran"))
if os.environ.get("TRIAL_FAULT") == "import":
    raise RuntimeError("planted")

async def check_dependencies() -> None:
    if os.path.exists("BROKEN_DEPENDENCY"):
        raise RuntimeError("planted")

@app.get("/sleep")
async def sleep(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"

async def work() -> None:
    await asyncio.sleep(4)
    log.info("worked after the response")

@app.get("/later")
async def later(tasks: BackgroundTasks) -> str:
    tasks.add_task(work)
    return "accepted"

@app.get("/hang")
async def hang(seconds: float) -> str:
    time.sleep(seconds)
    return "hung"

@app.get("/boom")
async def boom() -> str:
    raise RuntimeError("planted")

@app.get("/cancel")
async def cancel() -> str:
    raise asyncio.CancelledError

@app.get("/log")
async def write(text: str) -> str:
    log.info("said", text=text)
    return "logged"

@app.get("/who")
async def who(request: Request) -> dict[str, str | None]:
    return {
        "scheme": request.url.scheme,
        "url": str(request.url_for("who")),
        "client": request.client.host if request.client else None,
        "pid": str(os.getpid()),
    }

@app.get("/redirect")
async def redirect(request: Request) -> RedirectResponse:
    return RedirectResponse(request.url_for("who"))
""",
    "flask": """

import atexit, os, time
from flask import redirect as to, request, url_for

atexit.register(lambda: log.info("atexit ran"))
if os.environ.get("TRIAL_FAULT") == "import":
    raise RuntimeError("planted")

def check_dependencies() -> None:
    if os.path.exists("BROKEN_DEPENDENCY"):
        raise RuntimeError("planted")

@routes.get("/sleep")
@routes.get("/hang")
def sleep() -> str:
    time.sleep(float(request.args["seconds"]))
    return "slept"

@routes.get("/boom")
def boom() -> str:
    raise RuntimeError("planted")

@routes.get("/log")
def write() -> str:
    log.info("said", text=request.args["text"])
    return "logged"

@routes.get("/who")
def who() -> dict[str, str | None]:
    return {
        "scheme": request.scheme,
        "url": url_for(".who", _external=True),
        "client": request.remote_addr,
        "pid": str(os.getpid()),
    }

@routes.get("/redirect")
def redirect() -> object:
    return to(url_for(".who", _external=True))
""",
}
LIFESPAN_FAULT = (
    '    import os\n    if os.environ.get("TRIAL_FAULT") == "lifespan":\n        raise RuntimeError("planted")\n'
)


def put_on_trial(project: Path, framework: str) -> None:
    """Add the routes and the faults to the application of a rendered project."""
    app = add_routes(project, ROUTES[framework].replace("BROKEN_DEPENDENCY", BROKEN_DEPENDENCY))
    if framework == "fastapi":
        started = '    log.info("started", app=app.title'
        before, found, after = app.read_text().partition(started)
        assert found, "the lifespan function of app.py has changed"
        app.write_text(before + LIFESPAN_FAULT + started + after)


def log_entries(log: str) -> list[dict[str, object]]:
    """Return the entries of a JSON log, which must have one object on each line."""
    return [json.loads(line) for line in log.splitlines()]
