"""Measure the production images of each framework and server side by side, and show the results in the documentation.

`make bench-servers` runs this with the tools of `.venv`. This takes about six minutes, on a machine that should be idle
otherwise.
"""

import json
import os
import re
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from tools.locks import ROOT
from tools.measuring import LOAD, build, build_server, docker, memory, parse
from tools.questionnaire import base_image, stacks

PAGE = ROOT / "docs" / "servers.md"
RESULTS = ROOT / "docs" / "benchmarks" / "servers.json"
BLOCK = re.compile(r"(?<=<!-- servers -->\n).*(?=<!-- /servers -->)", re.DOTALL)
NAME = "bench-servers"
ROUNDS = 3
SECONDS = 8
CONNECTIONS = 64
PORT = 18765
# A route that waits, like one that queries a database.
WAIT = {
    "fastapi": """

@app.get("/wait")
async def wait() -> str:
    import asyncio
    await asyncio.sleep(0.01)
    return ""
""",
    "flask": """

@routes.get("/wait")
def wait() -> str:
    import time
    time.sleep(0.01)
    return ""
""",
}
# The measured values by name, each with its heading and its format.
COLUMNS = {
    "requests": ("requests/s", "{:.0f}"),
    "p99": ("p99, ms", "{:.1f}"),
    "wait_requests": ("requests/s that wait 10 ms", "{:.0f}"),
    "wait_p99": ("their p99, ms", "{:.1f}"),
    "memory": ("memory of one worker, MB", "{:.0f}"),
    "worker": ("of each further worker, MB", "{:.0f}"),
    "start": ("start to first 200, s", "{:.2f}"),
    "size": ("image, MB", "{:.0f}"),
}

Result = dict[str, float]


@contextmanager
def running(tag: str, workers: int) -> Iterator[float]:
    """Run an image with this number of workers, and yield the seconds until the first response with status 200."""
    options = ("--read-only", "--cap-drop=ALL", f"--network={NAME}", "--network-alias=service")
    start = time.monotonic()
    docker(
        "run", "--detach", f"--name={NAME}", *options, f"--publish=127.0.0.1:{PORT}:8000",
        f"--env=WEB_CONCURRENCY={workers}", tag,
    )  # fmt: skip
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=1):
                    break
            except OSError:
                time.sleep(0.01)
        yield time.monotonic() - start
    finally:
        docker("rm", "--force", NAME)


def load(path: str) -> tuple[float, float]:
    """Send requests for some seconds. Return the responses per second and their p99 latency in milliseconds."""
    command = ("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", f"http://service:8000{path}")
    return parse(docker("run", "--rm", f"--network={NAME}", f"{NAME}:wrk", *command))


def measure(tag: str) -> Result:
    """Measure an image once: under load with one worker, and at rest with one and with three."""
    with running(tag, workers=1) as start:
        load("/")  # warm up
        requests, p99 = load("/")
        wait_requests, wait_p99 = load("/wait")
    at_rest = []
    for workers in (1, 3):
        with running(tag, workers):
            time.sleep(2)
            at_rest.append(memory(NAME))
    worker = (at_rest[1] - at_rest[0]) / 2
    size = int(docker("image", "inspect", "--format={{.Size}}", tag)) / 1e6
    return {
        "requests": requests,
        "p99": p99,
        "wait_requests": wait_requests,
        "wait_p99": wait_p99,
        "memory": at_rest[0],
        "worker": worker,
        "start": start,
        "size": size,
    }


def table(results: dict[str, Result], about: str) -> str:
    """Return the lines of docs/servers.md: a description of the measurement and a table of the results."""
    lines = [
        "| | " + " | ".join(heading for heading, _ in COLUMNS.values()) + " |",
        "| --- | " + " | ".join("---:" for _ in COLUMNS) + " |",
        *(
            f"| {stack} | " + " | ".join(form.format(result[name]) for name, (_, form) in COLUMNS.items()) + " |"
            for stack, result in results.items()
        ),
    ]
    return "\n".join(["", about, "", *lines, ""]) + "\n"


def main() -> None:
    """Measure each framework with each server, in interleaved rounds; then update the documentation."""
    with tempfile.TemporaryDirectory() as folder:
        tags = {
            f"{framework}, {server}": build(
                Path(folder), f"{NAME}:{framework}-{server}", framework, server, WAIT[framework]
            )
            for framework, server in stacks()
        }
        build_server(Path(folder, "wrk"), f"{NAME}:wrk", LOAD)
    docker("network", "create", NAME)
    values: dict[str, list[Result]] = {stack: [] for stack in tags}
    try:
        for number, (stack, tag) in product(range(ROUNDS), tags.items()):
            print(f"round {number + 1}: {stack}", flush=True)
            values[stack].append(measure(tag))
    finally:
        docker("network", "rm", NAME)
        docker("image", "rm", "--force", f"{NAME}:wrk", *tags.values())
    results = {
        stack: {name: statistics.median(result[name] for result in rounds) for name in COLUMNS}
        for stack, rounds in values.items()
    }
    about = (
        f"Medians of {ROUNDS} interleaved rounds on {time.strftime('%Y-%m-%d')}: one worker, on {os.cpu_count()} CPUs "
        f"that it shares with wrk, {CONNECTIONS} connections, each request logged, {base_image()}, Docker "
        f"{docker('version', '--format={{.Server.Version}}').strip()}."
    )
    RESULTS.write_text(json.dumps({"about": about, "median": results, "values": values}, indent=2) + "\n")
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub(lambda _: table(results, about), text), encoding="utf-8")


if __name__ == "__main__":
    main()
