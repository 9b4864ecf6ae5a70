"""The Docker side of the benchmark: builds, starts and inspects images, and removes them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import platform
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from project import Project
from rich.console import Console

SECONDS_TO_START = 60
RECORDS_AT_ONCE = 1000  # in one command, which has a limit to its length


class BuildError(Exception):
    """An image was not built, or did not answer."""


@dataclass(frozen=True)
class Build:
    """A finished build: how long it took, in seconds, and the `RUN` steps that were not cached."""

    seconds: float
    ran: list[str]


def docker(*arguments: str | Path) -> str:
    """Run docker and return what it printed on standard output.

    Raises:
        BuildError: It failed; the message ends with what it printed.
    """
    command = ["docker", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        output = (done.stdout + done.stderr)[-3000:]
        raise BuildError(f"{' '.join(command)} failed:\n{output}")
    return done.stdout


def steps_that_ran(progress: str) -> list[str]:
    """Return the `RUN` steps that BuildKit had not cached, from its plain progress."""
    steps = dict(re.findall(r"^#(\d+) \[([^\]]+)\] RUN", progress, re.M))
    cached = set(re.findall(r"^#(\d+) CACHED", progress, re.M))
    return sorted(step for number, step in steps.items() if number not in cached)


def engines_builder() -> str:
    """Return the name of the builder that belongs to the engine in use."""
    return "default" if "DOCKER_HOST" in os.environ else docker("context", "show").strip()


def agreed(console: Console) -> bool:
    """Ask whether to go on, and return the answer: no, where nobody can give one."""
    with contextlib.suppress(EOFError):
        return bool(console.input("Go on? (y/N) ").strip().lower() == "y")
    console.print()
    return False


def free_port() -> int:
    """Return a port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def version_of(port: int) -> str:
    """Return the version that a service on loopback answers with, or nothing where it does not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", "/health")
        answer = connection.getresponse()
        if answer.status == http.HTTPStatus.OK:
            return str(json.load(answer)["version"])
    return ""


class Builder:
    """Builds with a builder of its own, or with the engine's, which others share."""

    def __init__(self) -> None:
        """Name the run, by which everything that it makes is found again."""
        self.run = f"bench-{time.time_ns() // 10**6}"
        self.name = self.run
        self.is_shared = False
        self.label = f"--label=bench={self.run}"
        self._records_of_others: set[str] = set()

    @classmethod
    @contextmanager
    def create(
        cls, console: Console, project: Path, *, share_without_asking: bool
    ) -> Iterator[Builder]:
        """Provide a builder, and remove it afterwards with everything that it made.

        Args:
            console: Where to say what will be removed, and to ask.
            project: A project whose base image the builder must be able to use.
            share_without_asking: Whether the user has agreed to share the engine's builder.

        Raises:
            BuildError: The user does not want to share a builder.
        """
        builder = cls()
        try:
            try:
                docker("buildx", "create", f"--name={builder.name}", "--driver=docker-container")
                builder.build_with(project, ["--target=base"], builder.tag("base"))
            except BuildError:
                builder._share(console, share_without_asking)
            yield builder
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            builder._remove_everything()

    def _share(self, console: Console, without_asking: bool) -> None:
        """Use the engine's builder instead of one that could not be made, if the user agrees."""
        subprocess.run(["docker", "buildx", "rm", self.name], capture_output=True, check=False)
        self.name = engines_builder()
        self.is_shared = True
        self._records_of_others = self.cache_records()
        console.print(
            "Buildx cannot make a builder of its own here, so the engine's is shared. At the "
            f"end, the images with the label bench={self.run} and the cache records that are "
            "new since now are removed: build nothing else meanwhile."
        )
        if not without_asking and not agreed(console):
            raise BuildError("Nothing was built; --yes agrees in advance.")

    def cache_records(self) -> set[str]:
        """Return the IDs of the records in the builder's cache."""
        listed = docker("buildx", "du", f"--builder={self.name}", "--verbose")
        return set(re.findall(r"^ID:\s+(\w+)", listed, re.MULTILINE))

    def _remove_everything(self) -> None:
        """Remove the containers, the images and the cache of this run, as far as it goes."""
        mine = f"--filter=label=bench={self.run}"
        for kind, remove in (("container", ["rm"]), ("image", ["image", "rm"])):
            with contextlib.suppress(BuildError):
                if found := set(docker(kind, "ls", "--all", "--quiet", mine).split()):
                    docker(*remove, "--force", *found)
        if not self.is_shared:
            with contextlib.suppress(BuildError):
                docker("buildx", "rm", self.name)
        elif new := sorted(self.cache_records() - self._records_of_others):
            for start in range(0, len(new), RECORDS_AT_ONCE):
                ids = "|".join(new[start : start + RECORDS_AT_ONCE])
                prune = ("buildx", "prune", f"--builder={self.name}", "--all", "--force")
                docker(*prune, f"--filter=id~=^({ids})$")

    def tag(self, technique: str) -> str:
        """Return the name of a technique's image."""
        return f"{self.run}:{technique}"

    def build(self, project: Project, technique: str, number: int, *, cold: bool) -> Build:
        """Build a technique's image as `docker build` does, and say how long it took.

        Args:
            project: The working copy.
            technique: The technique.
            number: The round. Each has cache mounts of its own, which no earlier round has filled.
            cold: Whether to use no cache at all.

        Returns:
            The build.

        Raises:
            BuildError: The build failed.

        Source of BUILDKIT_CACHE_MOUNT_NS: https://docs.docker.com/reference/dockerfile/
        """
        options = [
            *(["--no-cache"] if cold else []),
            f"--file={project.dockerfile(technique)}",
            f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={self.run}-{number}-{technique}",
        ]
        return self.build_with(project.folder, options, self.tag(technique))

    def build_with(self, folder: Path, options: list[str], tag: str) -> Build:
        """Build an image of a folder, with options of `docker build`; otherwise as `build`."""
        builder = [f"--builder={self.name}", *([] if self.is_shared else ["--load"])]
        plugins = f"--build-arg=POETRY_PLUGINS={os.environ.get('POETRY_PLUGINS', '')}"
        command = ["docker", "buildx", "build", *builder, "--progress=plain", self.label, plugins]
        start = time.monotonic()
        done = subprocess.run(
            [*command, *options, f"--tag={tag}", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - start
        if done.returncode:
            raise BuildError(f"{tag} was not built:\n{done.stderr[-3000:]}")
        return Build(seconds, steps_that_ran(done.stderr))

    def export(self, project: Project, technique: str, target: str, destination: Path) -> None:
        """Build a target that holds nothing but files, and write these into a folder."""
        docker(
            *("buildx", "build", f"--builder={self.name}", f"--target={target}"),
            *(f"--file={project.dockerfile(technique)}", f"--output={destination}", project.folder),
        )

    def run_in(self, image: str, folder: Path, *command: str) -> None:
        """Run a command in a container that has a folder for its own, as the caller."""
        mirror = ["--env=POETRY_PYPI_MIRROR_URL"] if "POETRY_PYPI_MIRROR_URL" in os.environ else []
        options = [self.label, f"--user={os.getuid()}:{os.getgid()}", "--env=HOME=/tmp", *mirror]
        docker("run", "--rm", *options, f"--volume={folder}:/app", image, *command)

    def image(self, technique: str) -> tuple[int, int]:
        """Return the size of a technique's image, in bytes, and how many layers it has."""
        found = json.loads(docker("image", "inspect", self.tag(technique)))[0]
        return found["Size"], len(found["RootFS"]["Layers"])

    def start(self, technique: str, version: str) -> float:
        """Start a technique's image, wait until it answers, and remove the container.

        Args:
            technique: The technique.
            version: The version that the answer must have: the project is really installed.

        Returns:
            The seconds from `docker run` to the first 200 of /health.

        Raises:
            BuildError: No such answer came in time.
        """
        tag = self.tag(technique)
        exposed = json.loads(docker("image", "inspect", tag))[0]["Config"]["ExposedPorts"]
        port = free_port()
        publish = f"--publish=127.0.0.1:{port}:{next(iter(exposed)).split('/')[0]}"
        start = time.monotonic()
        workers = "--env=WEB_CONCURRENCY=2"  # the project alone would count the CPUs
        container = docker("run", "--detach", self.label, publish, workers, tag).strip()
        try:
            while time.monotonic() - start < SECONDS_TO_START:
                if version_of(port) == version:
                    return time.monotonic() - start
                time.sleep(0.005)
            log = docker("logs", container)[-3000:]
            raise BuildError(f"{tag} did not answer with version {version}:\n{log}")
        finally:
            docker("rm", "--force", container)

    def environment(self, project: Project) -> dict[str, str]:
        """Return what the figures depend on: the date, the machine and the versions."""
        server = json.loads(docker("version", "--format=json"))["Server"]
        cpuinfo = Path("/proc/cpuinfo")
        found = re.search(r"model name\s*: (.+)", cpuinfo.read_text() if cpuinfo.exists() else "")
        model = found[1] if found else platform.machine()
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{os.cpu_count()} CPUs, {model}, {platform.system()}",
            "engine": server["Version"],
            "builder": "its own builder" if self.is_shared else "a builder apart, loading included",
        } | project.versions()
