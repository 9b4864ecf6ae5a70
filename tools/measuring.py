"""Functions that measure production images: build them, send them requests with wrk, and read their memory.

wrk runs in its own container, on a network that only the containers of the measurement share.
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tools.locks import ROOT, render
from tools.questionnaire import base_image

LOAD = f"FROM {base_image()}\nRUN apt-get update -qq && apt-get install -qq --yes wrk\n"
# Prints the memory of a container's processes, in KiB. Shared memory counts once. File pages are excluded, because the
# number that a process is charged for depends on the other processes on the machine.
MEMORY = (
    "import pathlib, re; print(sum(int(re.search(r'^Pss_Anon: +(\\d+)', text, re.M)[1]) for text in "
    "(file.read_text() for file in pathlib.Path('/proc').glob('[0-9]*/smaps_rollup')) if text))"
)


def docker(*arguments: str, cwd: Path = ROOT) -> str:
    """Run Docker and return its output.

    Raises:
        SystemExit: Docker failed. Its output is the message.
    """
    result = subprocess.run(["docker", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"docker {' '.join(arguments)} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def add_routes(project: Path, routes: str) -> Path:
    """Add routes to the application of a rendered project, before Flask's factory, and return its file."""
    (app,) = project.glob("src/*/app.py")
    before, marker, after = app.read_text().partition("\n\ndef create_app")
    app.write_text(before + routes + marker + after)
    return app


def build(folder: Path, tag: str, framework: str, server: str, routes: str = "") -> str:
    """Build the production image of a project, with more routes if they are given. Return the name of the image."""
    project = render(folder / f"{framework}-{server}", framework=framework, server=server)
    if routes:
        add_routes(project, routes)
    docker("build", "--quiet", f"--tag={tag}", ".", cwd=project)
    return tag


def build_server(folder: Path, tag: str, dockerfile: str, files: Mapping[str, str] | None = None) -> str:
    """Build the image of a program from Debian's packages, in a new folder with some files. Return its name."""
    folder.mkdir()
    for name, text in {"Dockerfile": dockerfile, **(files or {})}.items():
        (folder / name).write_text(text)
    docker("build", "--quiet", f"--tag={tag}", ".", cwd=folder)
    return tag


def parse(output: str) -> tuple[float, float]:
    """Return the responses per second and their p99 latency in milliseconds, from the output of `wrk --latency`.

    Raises:
        SystemExit: Requests failed. The output is the message.
    """
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"Requests failed:\n{output}")
    (requests,) = re.findall(r"Requests/sec: +([\d.]+)", output)
    ((p99, unit),) = re.findall(r"99% +([\d.]+)(us|ms|s)", output)
    return float(requests), float(p99) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]


def memory(container: str) -> float:
    """Return the memory of a running container, in MB."""
    command = ("exec", "--user=0", "--privileged", container, "python", "-ISc", MEMORY)
    return int(docker(*command)) * 1024 / 1e6
