"""Ways to build images and to talk to containers, for the tests that need Docker."""

import hashlib
import http.client
import json
import os
import re
import socket
import subprocess
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.commands import ROOT, check_run, run

# Where the images of this process of the tests go.
PROCESS = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
REPOSITORY = f"template-test-{PROCESS}"
# How a careful operator runs a container.
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
# Prints the user and the group of every process in a container.
PROCESS_IDS = (
    "import pathlib; print(sorted({tuple(line.split()[1] for line in status.read_text().splitlines() "
    "if line.startswith(('Uid:', 'Gid:'))) for status in pathlib.Path('/proc').glob('[0-9]*/status')}))"
)
# What the stand-ins for the base images need where Poetry resolves; asleep with the official ones.
PLUGINS = "poetry-plugin-pypi-mirror"


def free_port() -> int:
    """Return a port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Response:
    """An answer of a service: its status, its text and its headers, in lower case."""

    status: int
    text: str
    headers: Mapping[str, str]

    def json(self) -> Any:
        """Return the answer's JSON."""
        return json.loads(self.text)


def ask(port: int, path: str = "/", seconds: float = 30, headers: Mapping[str, str] | None = None) -> Response:
    """Ask a service on loopback once.

    Args:
        port: The port on 127.0.0.1.
        path: The path to ask for.
        seconds: How long each step may take, in seconds.
        headers: Headers to send.

    Returns:
        The answer, whatever its status.

    Raises:
        OSError: The service refuses the connection, or ends it.
        http.client.HTTPException: What it says is no answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, answer.read().decode(), fields)
    finally:
        connection.close()


def get(port: int, path: str = "/", seconds: float = 30, headers: Mapping[str, str] | None = None) -> Response:
    """Ask a service on loopback, again and again until it answers.

    Args:
        port: The port on 127.0.0.1.
        path: The path to ask for.
        seconds: How long to try, in seconds.
        headers: Headers to send.

    Returns:
        The first answer, whatever its status.

    Raises:
        TimeoutError: No answer came in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            return ask(port, path, seconds, headers)
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
    raise TimeoutError(f"no answer from port {port} within {seconds} s")


class Load:
    """Clients that ask a service, one request after the other, each on a connection that is kept.

    Attributes:
        outcomes: How often each status came, or each kind of failure, by its name.
    """

    def __init__(self, port: int, path: str = "/", clients: int = 8) -> None:
        """Prepare the clients.

        Args:
            port: The port on 127.0.0.1.
            path: The path to ask for.
            clients: How many ask at the same time.
        """
        self.outcomes: Counter[str] = Counter()
        self._port = port
        self._path = path
        self._left = 0
        self._clients = clients
        self._threads: list[threading.Thread] = []

    def start(self, count: int) -> None:
        """Start to send so many requests in all."""
        self._left = count
        self._threads = [threading.Thread(target=self._ask) for _ in range(self._clients)]
        for thread in self._threads:
            thread.start()

    def finish(self) -> Counter[str]:
        """Wait until every request has its answer, and return the outcomes."""
        for thread in self._threads:
            thread.join(timeout=120)
        return self.outcomes

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while self._left > 0:
            self._left -= 1
            try:
                connection.request("GET", self._path)
                answer = connection.getresponse()
                answer.read()
                self.outcomes[str(answer.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[type(error).__name__] += 1
                connection.close()
        connection.close()


def seconds_until(text: str, port: int, path: str = "/", seconds: float = 10) -> float:
    """Return how many seconds it takes until a service's answer holds a text, at most `seconds`."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if text in get(port, path).text:
            break
        time.sleep(0.02)
    return time.monotonic() - start


def inspect(kind: str, name: str) -> Any:
    """Return what Docker knows of an image or a container."""
    return json.loads(check_run("docker", kind, "inspect", name, cwd=ROOT))[0]


def is_in_layers(image: str, text: str) -> bool:
    """Return whether a text occurs in the layers of an image, all of which must have been read."""
    wanted, found, tail, size = text.encode(), False, b"", 0
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while block := process.stdout.read(2**20):
            found = found or wanted in tail + block
            tail, size = block[-len(wanted) :], size + len(block)
    assert size > 50 * 2**20, "the layers were not read"
    return found


def become(uid: int, gid: int) -> list[str]:
    """Return what runs a command as another user, who may use Docker; only root can."""
    group = Path("/var/run/docker.sock").stat().st_gid
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", f"--groups={group}"]


def build(project: Path, tag: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Build an image of a project, with BuildKit's plain progress as output; a failure is left to the caller."""
    return run("docker", "build", "--progress=plain", f"--tag={tag}", *arguments, ".", cwd=project)


def rebuilt_steps(output: str) -> set[str]:
    """Return the `RUN` steps that BuildKit ran, by stage, from its plain progress."""
    steps = dict(re.findall(r"^#(\d+) \[([\w-]+) \d+/\d+\] RUN", output, re.M))
    cached = set(re.findall(r"^#(\d+) CACHED", output, re.M))
    return {stage for number, stage in steps.items() if number not in cached}


def files_of(image: str) -> dict[str, tuple[object, ...]]:
    """Return every file of an image by its path: type, mode, owner, target of a link and hash of the content."""
    identity = check_run("docker", "create", image, cwd=ROOT).strip()
    found: dict[str, tuple[object, ...]] = {}
    try:
        with (
            subprocess.Popen(["docker", "export", identity], stdout=subprocess.PIPE) as process,
            tarfile.open(fileobj=process.stdout, mode="r|") as archive,
        ):
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                digest = hashlib.sha256(content.read()).hexdigest() if content else ""
                found[member.name] = (member.type, member.mode, member.uid, member.gid, member.linkname, digest)
    finally:
        check_run("docker", "rm", identity, cwd=ROOT)
    return found


@dataclass
class Container:
    """A running container and the port that it is published on."""

    id: str
    port: int

    def get(self, path: str = "/", seconds: float = 30, headers: Mapping[str, str] | None = None) -> Response:
        """Ask the service until it answers, as the function `get` does."""
        return get(self.port, path, seconds, headers)

    @property
    def address(self) -> str:
        """The container's own address, past the port that Docker publishes."""
        networks = inspect("container", self.id)["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])

    def workers(self) -> set[int]:
        """Return the process IDs that workers said they have, as they are in the container."""
        return {int(pid) for pid in re.findall(r"(?:Booting|Spawning) worker.*?(?:pid|PID): (\d+)", self.logs())}

    def logs(self) -> str:
        """Return what the container has printed."""
        return check_run("docker", "logs", self.id, cwd=ROOT)

    def execute(self, *command: str) -> str:
        """Run a command in the container and return what it printed."""
        return check_run("docker", "exec", self.id, *command, cwd=ROOT).strip()

    def health(self, unlike: str = "starting", seconds: float = 20) -> str:
        """Return the container's health once it is unlike the given one, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            status = str(inspect("container", self.id)["State"]["Health"]["Status"])
            if status != unlike or time.monotonic() > deadline:
                return status
            time.sleep(0.2)

    def stop(self, signal: str = "SIGTERM") -> tuple[int, float]:
        """Stop the container, with a minute's patience; return its exit code and the seconds it took."""
        start = time.monotonic()
        check_run("docker", "stop", f"--signal={signal}", "--timeout=60", self.id, cwd=ROOT)
        return self.wait(), time.monotonic() - start

    def wait(self, seconds: float = 30) -> int:
        """Wait until the container has ended by itself, for so many seconds; return its exit code.

        Raises:
            TimeoutError: The container is still running then.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = inspect("container", self.id)["State"]
            if not state["Running"]:
                return int(state["ExitCode"])
            time.sleep(0.1)
        raise TimeoutError(f"the container still runs after {seconds} s:\n{self.logs()}")


@contextmanager
def container(image: str, *options: str, port: int = 8000, command: tuple[str, ...] = ()) -> Iterator[Container]:
    """Run an image in the background, its port published on loopback, and remove the container afterwards.

    Args:
        image: The image.
        options: More options of `docker run`.
        port: The port that the service listens on in the container.
        command: What replaces the image's command.

    Yields:
        The container, which may still be starting.
    """
    published = free_port()
    options = ("--detach", f"--publish=127.0.0.1:{published}:{port}", *options)
    identity = check_run("docker", "run", *options, image, *command, cwd=ROOT).split()[-1]
    try:
        yield Container(identity, published)
    finally:
        run("docker", "rm", "--force", "--volumes", identity, cwd=ROOT)
