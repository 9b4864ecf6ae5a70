"""A machine with systemd: a container that runs systemd as process 1, uses this engine, and serves a registry."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.commands import ROOT, run
from tests.support.docker import Container, container
from tests.support.runner import REGISTRY_YML
from tools.questionnaire import base_image

# The engine runs outside, so docker.service is a stand-in. systemd needs a writable cgroup hierarchy of version 2.
DOCKERFILE = f"""
FROM {base_image()}
RUN apt-get update -qq \\
    && apt-get install -qq --yes --no-install-recommends docker-cli docker-registry sudo systemd
RUN install -d -o docker-registry /var/lib/registry \\
    && printf '[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=true\\n' >/etc/systemd/system/docker.service
COPY registry.yml /etc/docker/registry/config.yml
CMD ["sh", "-ec", "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; \\
    exec /lib/systemd/systemd --unit=multi-user.target"]
"""
FILES = {"registry.yml": REGISTRY_YML}
# systemd mounts and unmounts file systems. The tmpfs keeps it from mounting its own over the socket.
OPTIONS = (
    "--cap-add=SYS_ADMIN",
    "--security-opt=apparmor=unconfined",
    "--security-opt=seccomp=unconfined",
    "--cgroupns=private",
    "--tmpfs=/run",
    "--volume=/var/run/docker.sock:/run/docker.sock",
)


@dataclass
class Machine:
    """A container with systemd, and the registry that the engine reaches on loopback."""

    container: Container

    @property
    def registry(self) -> str:
        """The host and the port of the registry."""
        return f"127.0.0.1:{self.container.port}"

    def run(self, commands: str) -> str:
        """Run shell commands, which must succeed, and return what they printed."""
        return self.container.execute("sh", "-ec", commands)

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.container.execute("sh", "-ec", 'printf %s "$1" >"$2"', "sh", text, path)

    def show(self, unit: str) -> dict[str, str]:
        """Return the properties of a unit."""
        lines = self.container.execute("systemctl", "show", unit).splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}


def wait_for(started: Container, unit: str) -> None:
    """Wait until systemd has started a unit, for some seconds.

    Raises:
        TimeoutError: The unit is not active.
    """
    for _ in range(100):
        if run("docker", "exec", started.id, "systemctl", "is-active", unit, cwd=ROOT).returncode == 0:
            return
    raise TimeoutError(f"{unit} is not active:\n{started.logs()}")


@contextmanager
def machine(image: str) -> Iterator[Machine]:
    """Start a machine from an image of `DOCKERFILE`, and wait until its units have started."""
    with container(image, *OPTIONS, port=5000) as started:
        for unit in ("multi-user.target", "docker-registry.service"):
            wait_for(started, unit)
        yield Machine(started)
