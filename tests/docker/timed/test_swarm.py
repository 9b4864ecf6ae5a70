"""An update of three replicas on a swarm of one engine, while clients send requests."""

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import check_build, inspect
from tests.support.projects import Render
from tests.support.template import PAIRS

OLD, NEW = "0.1.0", "0.2.0"
# Virtual IPs need IPVS, which not every kernel has. Here the service's name resolves to the containers' own addresses.
DNSRR = """
services:
  production:
    deploy:
      endpoint_mode: dnsrr
networks:
  default:
    attachable: true
"""
# Eight threads request the version, twelve times a second each, until the standard input ends. Every request resolves
# the name, which must have three addresses or more, and tries one of them, once. Prints the number of responses of
# each version, and of errors of each kind.
CLIENT = """
import http.client, json, random, socket, sys, threading, time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

is_over = threading.Event()

def send_request():
    try:
        found = socket.getaddrinfo("production", 8000, socket.AF_INET, socket.SOCK_STREAM)
        assert len(found) >= 3, len(found)
        connection = http.client.HTTPConnection(*random.choice(found)[4], timeout=5)
        connection.request("GET", "/health")
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return json.loads(text)["version"] if response.status == 200 else f"{response.status}: {text}"
    except Exception as error:
        return repr(error)

def send_requests(thread):
    outcomes, next_time = Counter(), time.monotonic() + thread / 100
    while not is_over.wait(max(0, next_time - time.monotonic())):
        outcomes[send_request()] += 1
        next_time += 0.08
    return outcomes

with ThreadPoolExecutor(8) as pool:
    results = pool.map(send_requests, range(8))
    sys.stdin.read()
    is_over.set()
print(json.dumps(sum(results, Counter())))
"""


@dataclass(frozen=True)
class Stack:
    """A rendered project on the swarm, and the images of its two versions."""

    folder: Path
    name: str

    def image(self, version: str) -> str:
        """Return the name of a version's image."""
        return f"{self.name}:{version}"

    def build(self, version: str) -> None:
        """Set the version of the project and build its image."""
        pyproject = self.folder / "pyproject.toml"
        pyproject.write_text(pyproject.read_text().replace(f'"{OLD}"', f'"{version}"', 1))
        check_build(self.folder, self.image(version))

    def deploy(self, version: str, **env: str) -> None:
        """Deploy a version and wait until the update or its rollback is complete, for one minute at most."""
        files = ("--compose-file=docker-compose.yml", "--compose-file=dnsrr.yml")
        command = ("docker", "stack", "deploy", "--detach=false", "--resolve-image=never", *files, self.name)
        variables = os.environ | {"IMAGE": self.image(version)} | env
        subprocess.run(command, cwd=self.folder, env=variables, timeout=60, check=True)

    @contextmanager
    def load(self) -> Iterator[Counter[str]]:
        """Send about a hundred requests a second, and count the outcomes when the block ends."""
        outcomes: Counter[str] = Counter()
        client = f"{self.name}-client"
        options = ("--rm", "--interactive", f"--name={client}", f"--network={self.name}_default")
        process = subprocess.Popen(
            ("docker", "run", *options, self.image(OLD), "python", "-c", CLIENT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield outcomes
            outcomes.update(json.loads(process.communicate(timeout=30)[0]))
        finally:
            run("docker", "rm", "--force", client, cwd=ROOT)
            process.kill()
            process.communicate()

    def tasks(self, template: str, *options: str) -> list[str]:
        """Return a line for each current and past container of the service, in the format of a template."""
        command = ("docker", "service", "ps", "--no-trunc", f"--format={template}", *options)
        return check_run(*command, f"{self.name}_production", cwd=ROOT).splitlines()

    def running(self) -> list[str]:
        """Return the ID and the image of each container that should run and runs."""
        tasks = self.tasks("{{.CurrentState}} {{.ID}} {{.Image}}", "--filter=desired-state=running")
        return sorted(" ".join(task.split()[-2:]) for task in tasks if task.startswith("Running "))

    def containers(self, template: str, *options: str) -> list[str]:
        """Return a line for each running container of the stack, or for those that the options select."""
        label = f"--filter=label=com.docker.stack.namespace={self.name}"
        return check_run("docker", "ps", label, f"--format={template}", *options, cwd=ROOT).splitlines()

    def is_left(self) -> bool:
        """Return whether a container of the stack or its network still exists."""
        network = run("docker", "network", "inspect", f"{self.name}_default", cwd=ROOT)
        return network.returncode == 0 or bool(self.containers("{{.ID}}", "--all"))

    def remove(self) -> None:
        """Remove the stack, which takes some seconds, and its images."""
        run("docker", "stack", "rm", self.name, cwd=ROOT)
        deadline = time.monotonic() + 40
        while self.is_left() and time.monotonic() < deadline:
            time.sleep(0.5)
        run("docker", "image", "rm", "--force", self.image(OLD), self.image(NEW), cwd=ROOT)


@pytest.fixture(scope="module")
def _swarm() -> Iterator[None]:
    """Make the engine a swarm of one machine, unless it is in a swarm already. Leave the swarm afterwards."""
    state = check_run("docker", "info", "--format={{.Swarm.LocalNodeState}}", cwd=ROOT).strip()
    if state == "active":
        yield
        return
    check_run("docker", "swarm", "init", "--advertise-addr=127.0.0.1", cwd=ROOT)
    try:
        yield
    finally:
        run("docker", "swarm", "leave", "--force", cwd=ROOT)
        run("docker", "network", "rm", "docker_gwbridge", cwd=ROOT)  # `docker swarm leave` keeps it


@pytest.fixture(scope="module", params=[PAIRS[1], pytest.param(PAIRS[0], marks=pytest.mark.slow)], ids="-".join)
def stack(
    request: pytest.FixtureRequest, render: Render, tmp_path_factory: pytest.TempPathFactory, _swarm: None
) -> Iterator[Stack]:
    """Deploy the old version of a project, and build the image of the new one."""
    framework, server = request.param
    folder = tmp_path_factory.mktemp("swarm") / "project"
    shutil.copytree(render(framework=framework, server=server), folder, symlinks=True)
    (folder / "dnsrr.yml").write_text(DNSRR)
    stack = Stack(folder, f"swarmtest-{framework}-{server}-{os.getpid()}")
    try:
        stack.build(OLD)
        stack.build(NEW)
        stack.deploy(OLD)
        yield stack
    finally:
        stack.remove()


def test_rolling_update_fails_no_request(stack: Stack) -> None:
    start = time.monotonic()
    with stack.load() as outcomes:
        time.sleep(3)
        stack.deploy(NEW)
    seconds = time.monotonic() - start
    assert outcomes.keys() == {OLD, NEW}, outcomes
    assert outcomes.total() > 50 * seconds, outcomes
    with stack.load() as outcomes:
        time.sleep(2)
    assert outcomes.keys() == {NEW}, outcomes
    assert [line.split()[1] for line in stack.running()] == [stack.image(NEW)] * 3
    assert [status[:10] for status in stack.containers("{{.Status}}", "--filter=status=exited")] == ["Exited (0)"] * 3


def test_update_that_does_not_start_is_rolled_back(stack: Stack) -> None:
    before = stack.running()
    with stack.load() as outcomes:
        stack.deploy(NEW, LOG_LEVEL="loud")
    assert any("non-zero exit (1)" in error for error in stack.tasks("{{.Error}}"))
    assert stack.running() == before
    assert len(before) == 3
    assert outcomes.keys() in ({OLD}, {NEW}), outcomes


def test_containers_are_hardened(stack: Stack) -> None:
    identities = stack.containers("{{.ID}}")
    assert len(identities) == 3
    for identity in identities:
        facts = inspect("container", identity)
        assert facts["HostConfig"]["ReadonlyRootfs"] is True
        assert facts["HostConfig"]["CapDrop"] == ["ALL"]
        assert [(mount["Type"], mount["Destination"]) for mount in facts["Mounts"]] == [("tmpfs", "/tmp")]
        check_run("docker", "exec", identity, "touch", "/tmp/file", cwd=ROOT)
