"""Lesson 11: a machine of a CI system, which is a Docker engine in a container, and a registry."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import prepare
from attempt import Attempt, MissedError
from engine import Build, EngineError, docker, normalized, run
from facts import BASE, CI_IMAGE, INDEX_PORT, LABEL, NAME, PYTHON_IMAGE, REGISTRY_IMAGE

REGISTRY = "localhost:5000"
IMAGE = f"{REGISTRY}/{NAME}"
# The engine of the machine. Its jobs run in containers that share this socket.
ENGINE = "--env=DOCKER_HOST=unix:///run/engine/docker.sock"
# The address of the machine in the network of its builds.
ADDRESS = "10.219.0.1"
INDEX_URL = f"http://{ADDRESS}:{INDEX_PORT}/simple/"
DOCKERFILE = f"""
FROM {BASE}
ENV PIP_INDEX_URL={INDEX_URL} PIP_TRUSTED_HOST={ADDRESS}
ENV POETRY_PYPI_MIRROR_URL={INDEX_URL} UV_DEFAULT_INDEX={INDEX_URL}
"""
# Prints the packages of an image.
PACKAGES = """
import importlib.metadata, json, os, re
print(json.dumps({
    re.sub("[-_.]+", "-", one.name).lower():
        [one.version, str(os.stat(one.locate_file(one.files[0])).st_mtime)]
    for one in importlib.metadata.distributions() if one.files
}))
"""


class Machine:
    """A machine of a CI system that has the copy of the project, and no image except the base."""

    def __init__(self, identity: str, attempt: Attempt) -> None:
        """Load the base image.

        Args:
            identity: The container of the machine.
            attempt: The attempt.
        """
        self.identity = identity
        self.attempt = attempt
        archive = attempt.copy.folder.parent / "base.tar"
        docker("save", f"--output={archive}", BASE)
        deadline = time.monotonic() + 30
        while self.run("docker", "info").returncode:
            if time.monotonic() > deadline:
                raise EngineError("The engine of the CI machine did not start within 30 s.")
            time.sleep(0.3)
        self.check("docker", "load", "--input=/ci/base.tar")
        self.check("sh", "-c", f"echo '{DOCKERFILE}' | docker build --tag={PYTHON_IMAGE} -")
        self.check("docker", "create", PYTHON_IMAGE)  # the image is in use, so it is not pruned

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the machine."""
        return run("exec", self.identity, *command, seconds=300)

    def check(self, *command: str) -> str:
        """Run a command on the machine that must succeed, and return its output."""
        done = self.run(*command)
        if done.returncode:
            raise EngineError(
                f"{command[0]} failed on the CI machine: {done.stdout.strip()[-300:]}"
            )
        return done.stdout.strip()

    def run_job(self) -> Build:
        """Run the learner's script as on a new machine, which has no image except the base.

        The job has its own copy of the project, so that nothing that it writes outlives it.
        """
        self.check("docker", "image", "prune", "--all", "--force")
        self.check("docker", "buildx", "prune", "--all", "--force")
        script = self.attempt.files.relative_to(self.attempt.copy.folder) / "build.sh"
        start = time.monotonic()
        done = run(
            "run",
            "--rm",
            f"--label={LABEL}",
            f"--network=container:{self.identity}",
            f"--volumes-from={self.identity}",
            ENGINE,
            f"--env=IMAGE={IMAGE}",
            "--env=BUILDKIT_PROGRESS=plain",
            "--entrypoint=sh",
            CI_IMAGE,
            "-c",
            f"cp -r /ci/project /project && cd /project && exec sh {script}",
            seconds=300,
        )
        build = Build(done.returncode == 0, time.monotonic() - start, done.stdout)
        self.attempt.log += build.log
        if not build.succeeded:
            raise MissedError(f"build.sh failed: {build.error}")
        return build

    def pushed_packages(self) -> dict[str, list[str]]:
        """Return the packages in the pushed image: the version and the time of installation.

        Raises:
            MissedError: The registry has no image that runs Python.
        """
        self.run("docker", "image", "rm", "--force", IMAGE)
        done = self.run(
            "docker", "run", "--rm", "--quiet", "--entrypoint=python", IMAGE, "-c", PACKAGES
        )
        if done.returncode:
            raise MissedError("the registry has no image of the project. Push it.")
        packages: dict[str, list[str]] = json.loads(done.stdout)
        return packages


@contextmanager
def machine(attempt: Attempt) -> Iterator[Machine]:
    """Start a machine, its registry and a package index. Remove them afterwards."""
    folder = attempt.copy.folder.parent
    options = ("--detach", f"--label={LABEL}")
    own = ("--privileged", ENGINE, f"--volume={folder}:/ci:ro", "--volume=/run/engine")
    # With --host, the engine does not listen for TCP connections, for which it would wait 15 s.
    flags = ("--host=unix:///run/engine/docker.sock", f"--bip={ADDRESS}/24")
    command = ("dockerd", *flags, "--feature=containerd-snapshotter=true")
    identity = docker("run", *options, *own, CI_IMAGE, *command).splitlines()[-1]
    network = f"container:{identity}"
    registry = docker("run", *options, f"--network={network}", REGISTRY_IMAGE).splitlines()[-1]
    try:
        with prepare.index(network=network, address="0.0.0.0"):  # noqa: S104 # only the builds on the machine reach it
            yield Machine(identity, attempt)
    finally:
        run("rm", "--force", "--volumes", identity, registry)


def job_pushes_an_image(attempt: Attempt) -> None:
    """The job builds an image and pushes it to the registry."""
    build = _machine(attempt).run_job()
    attempt.figures["first CI build, s"] = build.seconds
    if normalized(NAME) not in _machine(attempt).pushed_packages():
        raise MissedError("the image in the registry does not contain the project.")


def second_job_installs_nothing(attempt: Attempt) -> None:
    """The job for the next commit, on a new machine, installs nothing and pushes its version."""
    before = _machine(attempt).pushed_packages()
    version = attempt.copy.bump_version()
    build = _machine(attempt).run_job()
    after = _machine(attempt).pushed_packages()
    again = [name for name in attempt.copy.locked() if before.get(name) != after.get(name)]
    attempt.figures |= {
        "second CI build, s": build.seconds,
        "packages that it installed": len(again),
    }
    if again:
        raise MissedError(
            f"it installed {len(again)} packages. Keep the cache of the build in the registry."
        )
    if after.get(normalized(NAME), [""])[0] != version:
        raise MissedError(f"the image in the registry does not have version {version}.")


def _machine(attempt: Attempt) -> Machine:
    """Return the machine of an attempt. Start it if there is none."""
    if attempt.machine is None:
        attempt.machine = attempt.resources.enter_context(machine(attempt))
    return attempt.machine
