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

from rich.console import Console

from project import Project

SECONDS_TO_START = 60
RECORDS_AT_ONCE = 1000  # the length of a command is limited


class BuildError(Exception):
    """An image was not built, or its container did not respond."""


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
    """Ask whether to go on. Without a terminal, return False."""
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
    """Return the version in the response of a service on loopback, or an empty string."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", "/health")
        response = connection.getresponse()
        if response.status == http.HTTPStatus.OK:
            return str(json.load(response)["version"])
    return ""


class Builder:
    """Builds with a builder of its own, or with the engine's builder, which others share."""

    def __init__(self) -> None:
        """Choose a name for the run. Everything that the run creates carries it."""
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
        """Provide a builder. Remove it afterwards, with everything that it created.

        Args:
            console: The terminal to ask on.
            project: A project. The builder must be able to use its base image.
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
        """Use the engine's builder instead of a new one, if the user agrees."""
        subprocess.run(["docker", "buildx", "rm", self.name], capture_output=True, check=False)
        self.name = engines_builder()
        self.is_shared = True
        self._records_of_others = self.cache_records()
        console.print(
            "Buildx cannot create a separate builder here, so the engine's is shared. At the end, "
            f"the images with the label bench={self.run} and all cache records that are created "
            "from now on are removed. Do not build anything else until then."
        )
        if not without_asking and not agreed(console):
            raise BuildError("Nothing was built; --yes agrees in advance.")

    def cache_records(self) -> set[str]:
        """Return the IDs of the records in the builder's cache."""
        listed = docker("buildx", "du", f"--builder={self.name}", "--verbose")
        return set(re.findall(r"^ID:\s+(\w+)", listed, re.MULTILINE))

    def _remove_everything(self) -> None:
        """Remove the containers, images, volume and cache of this run. Go on after failures."""
        mine = f"--filter=label=bench={self.run}"
        for kind, remove in (("container", ["rm"]), ("image", ["image", "rm"])):
            with contextlib.suppress(BuildError):
                if found := set(docker(kind, "ls", "--all", "--quiet", mine).split()):
                    docker(*remove, "--force", *found)
        with contextlib.suppress(BuildError):
            docker("volume", "rm", "--force", self.run)
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
            number: The round. Each round has cache mounts of its own, which are empty at first.
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
        """Build a target that contains only files, and write them to a folder."""
        docker(
            *("buildx", "build", f"--builder={self.name}", f"--target={target}"),
            *(f"--file={project.dockerfile(technique)}", f"--output={destination}", project.folder),
        )

    def build_poetry(self, project: Project) -> None:
        """Build the image that runs Poetry, from the project's own Dockerfile."""
        self.build_with(project.folder, ["--target=poetry"], self.tag("poetry"))

    def poetry(self, project: Project, *command: str) -> None:
        """Run Poetry in a container, on the working copy and as the caller."""
        mirror = ["--env=POETRY_PYPI_MIRROR_URL"] if "POETRY_PYPI_MIRROR_URL" in os.environ else []
        # A volume holds uv's cache, so that Poetry is downloaded once.
        cache = ["--env=UV_CACHE_DIR=/cache/uv", f"--volume={self.run}:/cache"]
        options = [self.label, f"--user={os.getuid()}:{os.getgid()}", *cache, *mirror]
        options += [f"--volume={project.folder}:/app"]
        docker("run", "--rm", *options, self.tag("poetry"), *command)

    def image(self, technique: str) -> tuple[int, int]:
        """Return the size of a technique's image, in bytes, and how many layers it has."""
        found = json.loads(docker("image", "inspect", self.tag(technique)))[0]
        return found["Size"], len(found["RootFS"]["Layers"])

    def start(self, technique: str, version: str) -> float:
        """Start a technique's image, wait until it responds, and remove the container.

        Args:
            technique: The technique.
            version: The version in the response, which proves that the project is installed.

        Returns:
            The seconds from `docker run` to the first 200 of /health.

        Raises:
            BuildError: There was no such response in time.
        """
        tag = self.tag(technique)
        exposed = json.loads(docker("image", "inspect", tag))[0]["Config"]["ExposedPorts"]
        port = free_port()
        publish = f"--publish=127.0.0.1:{port}:{next(iter(exposed)).split('/')[0]}"
        start = time.monotonic()
        # The same number of workers in each image: only the project's own counts the CPUs.
        workers = ["--env=WEB_CONCURRENCY=2", "--env=GRANIAN_WORKERS=2"]
        container = docker("run", "--detach", self.label, publish, *workers, tag).strip()
        try:
            while time.monotonic() - start < SECONDS_TO_START:
                if version_of(port) == version:
                    return time.monotonic() - start
                time.sleep(0.005)
            log = docker("logs", container)[-3000:]
            raise BuildError(f"{tag} did not respond with version {version}:\n{log}")
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
            "builder": "its own builder" if self.is_shared else "a separate builder, with loading",
        } | project.versions()
