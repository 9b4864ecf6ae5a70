"""Functions that build images and send requests to containers, for the tests that need Docker."""

import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.commands import ROOT, check_run, run

# The images that this test process builds have this name.
PROCESS = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
REPOSITORY = f"template-test-{PROCESS}"
# Options of `docker run` that harden a container.
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
# Prints the user and the group of every process in a container.
PROCESS_IDS = (
    "import pathlib; print(sorted({tuple(line.split()[1] for line in status.read_text().splitlines() "
    "if line.startswith(('Uid:', 'Gid:'))) for status in pathlib.Path('/proc').glob('[0-9]*/status')}))"
)
# Prints the process IDs of a server's workers: the child processes of process 1, or process 1 itself if it has none.
# The resource tracker of multiprocessing is not a worker. A process may end while this reads /proc.
WORKERS = """
import contextlib, pathlib
children, workers = [], []
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    with contextlib.suppress(OSError):
        state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        if parent == "1" and state not in "ZX":
            children.append(folder.name)
            if b"resource_tracker" not in (folder / "cmdline").read_bytes():
                workers.append(folder.name)
print(*workers if children else [1])
"""
# In substitute base images, Poetry needs this plugin to resolve dependencies. In the official images, it does nothing.
PLUGINS = "poetry-plugin-pypi-mirror"


# A server that accepts no connection, so that clients wait until their timeout. Its argument is the port.
HANGING_SERVER = (
    "python",
    "-c",
    "import socket, sys, time; server = socket.create_server(('', int(sys.argv[1]))); time.sleep(600)",
)
# Builds an image of a project for a target and answers, and returns its name.
Image = Callable[..., str]


def engine_version() -> str:
    """Return the version of the Docker engine, or an empty string if none responds."""
    if shutil.which("docker") is None:
        return ""
    result = run("docker", "version", "--format={{.Server.Version}}", cwd=ROOT)
    return result.stdout.strip() if result.returncode == 0 else ""


def free_port() -> int:
    """Return a port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Response:
    """A response of a service: its status, its text and its headers, with their names in lower case."""

    status: int
    text: str
    headers: Mapping[str, str]

    def json(self) -> Any:
        """Return the JSON value of the text."""
        return json.loads(self.text)


def ask(
    port: int, path: str = "/", seconds: float = 30, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> Response:
    """Send one request to a service on loopback.

    Args:
        port: The port on 127.0.0.1.
        path: The path of the request.
        seconds: The timeout of each step, in seconds.
        headers: Headers to send.
        method: The method of the request.

    Returns:
        The response, whatever its status.

    Raises:
        OSError: The service refuses or closes the connection.
        http.client.HTTPException: The service sends no valid response.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, response.read().decode(), fields)
    finally:
        connection.close()


def get(port: int, path: str = "/", seconds: float = 30, headers: Mapping[str, str] | None = None) -> Response:
    """Send a GET request to a service on loopback, and repeat it until there is a response.

    Args:
        port: The port on 127.0.0.1.
        path: The path of the request.
        seconds: How long to try, in seconds.
        headers: Headers to send.

    Returns:
        The first response, whatever its status.

    Raises:
        TimeoutError: There was no response in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            return ask(port, path, seconds, headers)
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
    raise TimeoutError(f"no response from port {port} within {seconds} s")


def count_outcome(connection: http.client.HTTPConnection, path: str, outcomes: Counter[str]) -> None:
    """Send a GET request on a connection, and count the status of its response, or the class of its error."""
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        outcomes[str(response.status)] += 1
    except (OSError, http.client.HTTPException) as error:
        outcomes[type(error).__name__] += 1
        connection.close()


class Load:
    """Clients that send requests to a service, one after the other, each on one connection.

    Attributes:
        outcomes: The number of responses with each status, and of errors of each class.
    """

    def __init__(self, port: int, path: str = "/", clients: int = 8) -> None:
        """Prepare the clients.

        Args:
            port: The port on 127.0.0.1.
            path: The path of the requests.
            clients: The number of clients.
        """
        self.outcomes: Counter[str] = Counter()
        self._port = port
        self._path = path
        self._left = 0
        self._clients = clients
        self._threads: list[threading.Thread] = []

    def start(self, count: int) -> None:
        """Start to send this number of requests in total."""
        self._left = count
        self._threads = [threading.Thread(target=self._ask) for _ in range(self._clients)]
        for thread in self._threads:
            thread.start()

    def finish(self) -> Counter[str]:
        """Wait until every request has its response, and return the outcomes."""
        for thread in self._threads:
            thread.join(timeout=120)
        return self.outcomes

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while self._left > 0:
            self._left -= 1
            count_outcome(connection, self._path, self.outcomes)
        connection.close()


def seconds_until(text: str, port: int, path: str = "/", seconds: float = 10) -> float:
    """Return how many seconds it takes until a response contains a text, at most `seconds`."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if text in get(port, path).text:
            break
        time.sleep(0.02)
    return time.monotonic() - start


def inspect(kind: str, name: str) -> Any:
    """Return the output of `docker inspect` for an image or a container."""
    return json.loads(check_run("docker", kind, "inspect", name, cwd=ROOT))[0]


def is_in_layers(image: str, text: str) -> bool:
    """Return whether a text occurs in the layers of an image."""
    wanted, found, tail, size = text.encode(), False, b"", 0
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while block := process.stdout.read(2**20):
            found = found or wanted in tail + block
            tail, size = block[-len(wanted) :], size + len(block)
    assert size > 50 * 2**20, "the layers were not read"
    return found


def become(uid: int, gid: int) -> list[str]:
    """Return a command prefix that runs a command as another user with access to Docker. Only root can use it."""
    group = Path("/var/run/docker.sock").stat().st_gid
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", f"--groups={group}"]


def build_command(tag: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that builds an image, with BuildKit's plain progress as output."""
    return ("docker", "build", "--progress=plain", f"--tag={tag}", *arguments, ".")


def build(project: Path, tag: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Build an image of a project. The caller checks the exit code."""
    return run(*build_command(tag, *arguments), cwd=project)


def check_build(project: Path, tag: str, *arguments: str) -> str:
    """Build an image of a project, which must succeed, and return the output."""
    return check_run(*build_command(tag, *arguments), cwd=project)


def build_server(folder: Path, name: str, dockerfile: str) -> str:
    """Build an image of a server that the tests need, from a Dockerfile in a folder. Return its name."""
    (folder / "Dockerfile").write_text(dockerfile)
    tag = f"{REPOSITORY}:{name}"
    check_build(folder, tag)
    return tag


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
        """Send a request until there is a response, as the function `get` does."""
        return get(self.port, path, seconds, headers)

    @property
    def address(self) -> str:
        """The container's own address, to connect without Docker's port forwarding."""
        networks = inspect("container", self.id)["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])

    def workers(self) -> set[int]:
        """Return the process IDs of the server's workers, as they are in the container."""
        return {int(pid) for pid in self.execute("python", "-ISc", WORKERS).split()}

    def logs(self) -> str:
        """Return what the container has printed."""
        return check_run("docker", "logs", self.id, cwd=ROOT)

    def execute(self, *command: str) -> str:
        """Run a command in the container and return what it printed."""
        return check_run("docker", "exec", self.id, *command, cwd=ROOT).strip()

    def health(self, unlike: str = "starting", seconds: float = 20) -> str:
        """Return the container's health when it differs from the given status, or after this number of seconds."""
        deadline = time.monotonic() + seconds
        while True:
            status = str(inspect("container", self.id)["State"]["Health"]["Status"])
            if status != unlike or time.monotonic() > deadline:
                return status
            time.sleep(0.2)

    def stop(self, signal: str = "SIGTERM") -> tuple[int, float]:
        """Stop the container, with a timeout of one minute. Return its exit code and the seconds it took."""
        start = time.monotonic()
        check_run("docker", "stop", f"--signal={signal}", "--timeout=60", self.id, cwd=ROOT)
        return self.wait(), time.monotonic() - start

    def wait(self, seconds: float = 30) -> int:
        """Wait until the container ends by itself, and return its exit code.

        Raises:
            TimeoutError: The container still runs after this number of seconds.
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
    """Run an image in the background with its port published on loopback, and remove the container afterwards.

    Args:
        image: The image.
        options: More options of `docker run`.
        port: The port that the service listens on in the container.
        command: The command to run instead of the image's.

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
