"""The checks on a machine without a network, after `make workshop-prepare`."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import REPOSITORY
from tests.support.lessons import Learner
from tests.support.servers import STAND_INS, build_stand_in
from tools.questionnaire import versions

pytestmark = pytest.mark.slow

# Runs a command on the machine, and returns its output.
OnMachine = Callable[..., str]


@pytest.fixture(scope="module")
def on_machine(request: pytest.FixtureRequest) -> Iterator[OnMachine]:
    """Return a function that runs a command on a machine with a Docker engine, the prepared images, and no network.

    The engine keeps images as containerd does, which is the default of Docker Desktop.
    """
    learner: Learner = request.getfixturevalue("_learners")("fastapi")
    image = f"{REPOSITORY}:offline"
    build_stand_in(STAND_INS["docker"], image)
    folder = str(learner.folder)
    # In memory, because disks are slow at deleting the many files of images.
    options = ("--detach", "--privileged", "--network=none", "--tmpfs=/var/lib/docker:exec")
    engine = ("dockerd", "--feature=containerd-snapshotter=true")
    identity = check_run("docker", "run", *options, f"--volume={folder}:{folder}", image, *engine, cwd=ROOT).split()[-1]

    def run_on_machine(*command: str) -> str:
        return check_run("docker", "exec", f"--workdir={folder}", identity, *command, cwd=ROOT)

    try:
        run_on_machine("timeout", "60", "sh", "-c", "until docker info >/dev/null 2>&1; do sleep 0.2; done")
        pins = versions()
        images = [f"{learner.name}-workshop-base", f"{learner.name}-workshop-index"]
        images += [f"docker:{pins['docker']}-dind", f"registry:{pins['registry']}"]
        load = f"docker save {' '.join(images)} | docker exec --interactive {identity} docker load"
        check_run("sh", "-c", load, cwd=ROOT)
        yield run_on_machine
    finally:
        run("docker", "rm", "--force", "--volumes", identity, cwd=ROOT)
        run("docker", "image", "rm", "--force", image, cwd=ROOT)


@pytest.mark.parametrize("lesson", ["03", "04", "06", "07", "11", "12"])
def test_solution_passes_without_a_network(lesson: str, on_machine: OnMachine) -> None:
    interfaces = on_machine("python3", "-c", "import socket; print(*(name for _, name in socket.if_nameindex()))")
    assert set(interfaces.split()) == {"lo", "docker0"}
    output = on_machine("python3", "workshop/check", lesson, "--solution")
    assert "Building" not in output, "nothing was prepared again"
    assert "✓" in output
