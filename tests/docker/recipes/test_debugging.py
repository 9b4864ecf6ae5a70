"""`make debug-test` of the recipe: a debugger attaches as `.vscode/launch.json` says, and stops in a test."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.commands import ROOT, run
from tests.support.debugger import Debugger, Stop, configuration
from tests.support.docker import free_port
from tests.support.recipes import RecipeProject

pytestmark = pytest.mark.slow

# A socket in /proc/net/tcp that listens on port 5678.
LISTENS = ":162E 00000000:0000 0A"


@contextmanager
def debugged_test(project: RecipeProject, port: int) -> Iterator["subprocess.Popen[str]"]:
    """Run `make debug-test` for one test in the background, and yield the process."""
    environment = os.environ | project.environment() | {"DEBUG_PORT": str(port)}
    command = ("make", "debug-test", "ARGS=-k index")
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=project.folder, env=environment, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.terminate()


def wait_for_debugger(port: int) -> None:
    """Wait until the debugger listens in the container that publishes a port.

    Raises:
        TimeoutError: It does not listen after two minutes.
    """
    for _ in range(240):
        found = run("docker", "ps", "--quiet", f"--filter=publish={port}", cwd=ROOT).stdout.split()
        if found and LISTENS in run("docker", "exec", found[0], "cat", "/proc/net/tcp", cwd=ROOT).stdout:
            return
        time.sleep(0.5)
    raise TimeoutError("the debugger does not listen")


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_debugger_stops_in_a_test(framework: str, new_project: Callable[[str, str], RecipeProject]) -> None:
    project = new_project("debugging", framework)
    project.follow()
    project.check_make("up")  # which may run at the same time
    port = free_port()
    for file, text in (
        ("tests/test_app.py", "assert response.status_code == 200"),
        ("src/my_service/app.py", "return {"),
    ):
        path = project.folder / file
        line = next(number for number, one in enumerate(path.read_text().splitlines(), 1) if text in one)
        with debugged_test(project, port) as process:
            wait_for_debugger(port)
            debugger = Debugger(configuration(project.folder, port), Stop(str(path), line))
            try:
                assert debugger.wait(seconds=60) == (str(path), line)
            finally:
                debugger.close()
            output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        assert "1 passed" in output
    left = run("docker", "ps", "--all", "--quiet", f"--filter=name={project.folder.name}-debug", cwd=ROOT)
    assert left.stdout == "", "the container is removed"
