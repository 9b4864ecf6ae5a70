"""A rendered project that is committed and has its own name and port, and functions that run `make` in it."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pexpect

from tests.support.commands import check_run, fail_run, run
from tests.support.docker import PLUGINS, inspect


@dataclass
class Made:
    """A rendered project and a way to run its Makefile."""

    folder: Path
    name: str
    port: int

    @property
    def package(self) -> Path:
        """The folder of the service's code."""
        return self.folder / "src" / self.name.replace("-", "_")

    def make(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run make with the project's port. The caller checks the exit code."""
        return run("make", *arguments, cwd=self.folder, **self.environment(), **env)

    def check_make(self, *arguments: str, **env: str) -> str:
        """Run make, which must succeed, and return its output."""
        return check_run("make", *arguments, cwd=self.folder, **self.environment(), **env)

    def fail_make(self, *arguments: str, **env: str) -> str:
        """Run make, which must fail, and return its output."""
        return fail_run("make", *arguments, cwd=self.folder, **self.environment(), **env)

    def environment(self) -> dict[str, str]:
        """Return the variables that make runs with."""
        return {"PORT": str(self.port), "POETRY_PLUGINS": PLUGINS}

    def container(self, service: str = "app") -> str:
        """Return the name of the container that Compose v2 gives a service."""
        return f"{self.folder.name}-{service}-1"

    def wait_until_healthy(self, service: str = "app") -> None:
        """Wait until the health check of a service succeeds, for at most 30 seconds."""
        deadline = time.monotonic() + 30
        while inspect("container", self.container(service))["State"]["Health"]["Status"] != "healthy":
            assert time.monotonic() < deadline, f"{service} is not healthy"
            time.sleep(0.5)

    def changed_files(self) -> list[str]:
        """Return the files that changed since the project was committed, ignored files included."""
        output = check_run("git", "status", "--porcelain", "--ignored", cwd=self.folder)
        return [line[3:] for line in output.splitlines()]

    def run_in_terminal(self, *arguments: str) -> "pexpect.spawn[str]":
        """Start `make run` in a new terminal, and return once a worker has started."""
        env = os.environ | {"PORT": str(self.port)}
        server = pexpect.spawn("make", ["run", *arguments], cwd=self.folder, env=env, encoding="utf-8", timeout=120)
        server.expect(r"\[info\] started ")  # a process blocks if nobody reads the terminal that it writes to
        return server
