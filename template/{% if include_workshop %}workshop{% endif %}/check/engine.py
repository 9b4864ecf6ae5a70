"""The Docker side of the checks: it builds, starts and inspects images."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from facts import BASE, LABEL, PORT, WORKSHOP

SECONDS_TO_START = 30
SECONDS_TO_BUILD = 300


class EngineError(Exception):
    """A command of Docker failed. The message is one line for the user."""


class NotStartedError(EngineError):
    """Docker cannot start the container of an image."""


def run(*arguments: str | Path, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Run docker to its end, whatever its exit code. Standard error is part of the output.

    Args:
        arguments: The arguments of docker.
        seconds: The time limit.

    Raises:
        EngineError: Docker is missing, or the command took too long.
    """
    try:
        return subprocess.run(
            ["docker", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise EngineError("Docker is missing: https://docs.docker.com/get-docker/") from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"docker {arguments[0]} took longer than {seconds:.0f} s.") from error


def docker(*arguments: str | Path, seconds: float = 120) -> str:
    """Run docker, which must succeed, and return its output.

    Raises:
        EngineError: It failed. The message ends with the line of its output that says why.
    """
    done = run(*arguments, seconds=seconds)
    if done.returncode:
        lines = re.findall(r"^(?!Run 'docker ).*\S", done.stdout, re.MULTILINE)
        raise EngineError(f"docker {arguments[0]} failed: {(lines or ['no output'])[-1]}")
    return done.stdout.strip()


@dataclass(frozen=True)
class Build:
    """A finished build.

    Attributes:
        succeeded: Whether there is an image.
        seconds: How long it took.
        log: The plain progress of BuildKit.
    """

    succeeded: bool
    seconds: float
    log: str

    def installed(self) -> set[str]:
        """Return the packages that the build installed, as pip, Poetry and uv print them."""
        words = " ".join(re.findall(r"Successfully installed (.*)", self.log)).split()
        found = [word.rpartition("-")[0] for word in words]
        found += re.findall(r" - (?:Installing|Updating) (\S+) \(", self.log)
        found += re.findall(r" [+~] ([\w.-]+)==", self.log)
        return {normalized(name) for name in found}

    @property
    def error(self) -> str:
        """Return the line of the log that says why the build failed.

        It is the last error that the step printed, or the last line if it does not name errors.
        """
        failed = re.search(r"^#(\d+) ERROR: (.*)", self.log, re.MULTILINE)
        if not failed:
            return self.log.strip().rpartition("\n")[2]
        output = re.findall(rf"^#{failed[1]} [\d.]+ (.*\S)", self.log, re.MULTILINE)
        errors = [line for line in output if line.lower().startswith("error")]
        return str((errors or output or [failed[2]])[-1])


def normalized(name: str) -> str:
    """Return the name of a package as locks write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def builder() -> str:
    """Return the name of the builder that belongs to the engine, which has the engine's images.

    Raises:
        EngineError: Docker has no Buildx.
    """
    if run("buildx", "version").returncode:
        raise EngineError("Docker Buildx is missing: https://docs.docker.com/go/buildx/")
    return "default" if "DOCKER_HOST" in os.environ else docker("context", "show")


def build(
    folder: Path, dockerfile: Path, tag: str, *options: str, seconds: float = SECONDS_TO_BUILD
) -> Build:
    """Build an image as `docker build` does.

    Args:
        folder: The build context.
        dockerfile: The Dockerfile.
        tag: The name of the image.
        options: More options.
        seconds: The time limit.

    Returns:
        The build, whether it succeeded or not.
    """
    command = ("buildx", "build", f"--builder={builder()}", "--progress=plain", "--network=host")
    start = time.monotonic()
    named = (f"--file={dockerfile}", f"--tag={tag}")
    done = run(*command, *named, *options, folder, seconds=seconds)
    return Build(done.returncode == 0, time.monotonic() - start, done.stdout)


def history(image: str) -> str:
    """Return the size of each layer of an image and the step that made it, the last layer first."""
    return docker("history", "--no-trunc", "--format={{.Size}} {{.CreatedBy}}", image)


@dataclass(frozen=True)
class Layer:
    """A layer of an image: its files."""

    files: list[tarfile.TarInfo]

    def packages(self) -> dict[str, tuple[str, str, float]]:
        """Return the Python packages in the layer by path: name, version, time of installation."""
        found = (
            (re.search(r"([^/]+)-([^/-]+)\.dist-info/METADATA$", file.name), file)
            for file in self.files
        )
        return {
            file.name: (normalized(match[1]), match[2], file.mtime)
            for match, file in found
            if match
        }


def own_layers(image: str, base: str, needle: bytes = b"") -> tuple[list[Layer], list[str]]:
    """Return the layers that an image adds to its base, and their files that contain some bytes.

    Args:
        image: The image.
        base: The image that it is built from.
        needle: The bytes to look for. If empty, no file is read.
    """
    known = set(docker("image", "inspect", '--format={{join .RootFS.Layers "\\n"}}', base).split())
    found, holding = [], []
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        docker("save", f"--output={archive}", image)
        with tarfile.open(archive) as saved:
            manifest = json.loads(content(saved, "manifest.json").read())[0]
            config = json.loads(content(saved, manifest["Config"]).read())
            for digest, path in zip(config["rootfs"]["diff_ids"], manifest["Layers"], strict=True):
                if digest in known:
                    continue
                with tarfile.open(fileobj=content(saved, path)) as layer:
                    files = [member for member in layer if member.isfile()]
                    holding += [
                        file.name
                        for file in files
                        if needle and needle in content(layer, file).read()
                    ]
                found.append(Layer(files))
    return found, holding


def content(archive: tarfile.TarFile, member: str | tarfile.TarInfo) -> IO[bytes]:
    """Return a file of an archive, opened for reading.

    Raises:
        EngineError: It is no regular file.
    """
    opened = archive.extractfile(member)
    if opened is None:
        raise EngineError(f"{member} is no file.")
    return opened


@dataclass(frozen=True)
class Container:
    """A running container.

    Attributes:
        id: Its ID.
        port: The port on this machine that leads to the service.
    """

    id: str
    port: int

    def get(self, path: str, seconds: float = 5) -> tuple[int, str]:
        """Send a GET request, and return the status and the text of the response.

        Raises:
            OSError: The service refuses or closes the connection.
            http.client.HTTPException: The response is not valid.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def responds(self, seconds: float = SECONDS_TO_START) -> bool:
        """Wait until /health responds with 200, and return whether it did in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.is_running():
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get("/health")[0] == http.HTTPStatus.OK:
                    return True
            time.sleep(0.05)
        return False

    def is_running(self) -> bool:
        """Return whether the container runs."""
        return self.state()["Running"] is True

    def state(self) -> dict[str, object]:
        """Return the state of the container, as `docker inspect` shows it."""
        state: dict[str, object] = json.loads(
            docker("inspect", "--format={{json .State}}", self.id)
        )
        return state

    def last_log_line(self) -> str:
        """Return the last line that the container logged."""
        return (docker("logs", "--tail=20", self.id).splitlines() or ["It logged nothing."])[-1]


@contextmanager
def container(image: str, *options: str) -> Iterator[Container]:
    """Start an image in the background, and remove the container afterwards.

    Args:
        image: The image.
        options: Options of `docker run`.

    Raises:
        NotStartedError: Docker cannot start it, for example because the program of CMD is missing.
    """
    own = ("--detach", f"--label={LABEL}", f"--publish=127.0.0.1::{PORT}")
    try:
        identity = docker("run", *own, *options, image).splitlines()[-1]
    except EngineError as error:
        raise NotStartedError(str(error)) from error
    try:
        published = run("port", identity, f"{PORT}/tcp").stdout
        port = re.search(r":(\d+)$", published, re.MULTILINE)
        yield Container(identity, int(port[1]) if port else 0)
    finally:
        run("rm", "--force", "--volumes", identity)


def python(image: str, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a new container of an image, and return the finished process."""
    return run(
        "run", "--rm", f"--label={LABEL}", "--entrypoint=python", *options, image, "-c", code
    )


def remove_everything() -> None:
    """Remove the containers, the images and the folders that checks created."""
    for kind, remove in (("container", ["rm", "--volumes"]), ("image", ["image", "rm"])):
        listed = run(kind, "ls", "--all", "--quiet", f"--filter=label={LABEL}")
        if listed.returncode == 0 and (found := sorted(set(listed.stdout.split()))):
            run(*remove, "--force", *found)
    for folder in WORKSHOP.glob(".check-*"):
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():  # with files that belong to the user of a container
            mount = f"--volume={WORKSHOP}:/workshop"
            run("run", "--rm", mount, "--entrypoint=rm", BASE, "-rf", f"/workshop/{folder.name}")
