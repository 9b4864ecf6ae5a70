"""Everything that the lessons need from the internet, fetched once: images and packages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager

from engine import EngineError, build, docker, run
from facts import BASE, CI_IMAGE, INDEX, INDEX_PORT, LABEL, PROJECT, REGISTRY_IMAGE, WORKSHOP

SECONDS_TO_FETCH = 1800
# The label of the index with the state that it was built from.
STATE = "workshop-state"


def state() -> str:
    """Return a hash of the files that the prepared images depend on.

    An edit of pyproject.toml that changes no dependency needs no other packages.
    """
    files = [PROJECT / "poetry.lock", *sorted((WORKSHOP / "prepare").iterdir())]
    return hashlib.sha256(
        b"".join(file.read_bytes() for file in files if file.is_file())
    ).hexdigest()


def is_prepared() -> bool:
    """Return whether everything has been fetched, for the present lock."""
    found = run("image", "inspect", f'--format={{{{index .Config.Labels "{STATE}"}}}}', INDEX)
    images = (BASE, CI_IMAGE, REGISTRY_IMAGE)
    return found.stdout.strip() == state() and all(
        run("image", "inspect", image).returncode == 0 for image in images
    )


def prepare() -> None:
    """Fetch the images and the packages.

    Raises:
        EngineError: Something could not be fetched.
    """
    for image in (CI_IMAGE, REGISTRY_IMAGE):
        if run("image", "inspect", image).returncode:
            print(f"Fetching {image}", flush=True)
            docker("pull", "--quiet", image, seconds=SECONDS_TO_FETCH)
    for target, tag in (("base", BASE), ("index", INDEX)):
        print(f"Building {tag}", flush=True)
        options = (f"--target={target}", f"--label={STATE}={state()}")
        dockerfile = WORKSHOP / "prepare" / "Dockerfile"
        done = build(PROJECT, dockerfile, tag, *options, seconds=SECONDS_TO_FETCH)
        if not done.succeeded:
            raise EngineError(f"{tag} was not built: {done.error}")


@contextmanager
def index(
    *folders: str, password: str = "", network: str = "host", address: str = "127.0.0.1"
) -> Iterator[None]:
    """Serve packages to builds.

    Args:
        folders: More folders in the image of the index.
        password: The password of the private index.
        network: The network of its container.
        address: The address that it serves on.

    Raises:
        EngineError: Its port is in use.
    """
    options = (
        f"--name={INDEX}",
        f"--network={network}",
        f"--env=INDEX_PASSWORD={password}",
        f"--label={LABEL}",
    )
    command = (address, str(INDEX_PORT), "/packages", *folders)
    docker("run", "--detach", *options, INDEX, *command)
    connect = f"import socket; socket.create_connection(('{address}', {INDEX_PORT}))"
    try:
        while run("exec", INDEX, "python", "-c", connect).returncode:
            if docker("inspect", "--format={{.State.Running}}", INDEX) != "true":
                raise EngineError(f"Port {INDEX_PORT} is in use: stop the program that uses it.")
        yield
    finally:
        run("rm", "--force", INDEX)


def downloads() -> list[str]:
    """Return the names of the files that builds have downloaded from the index, in their order."""
    requests = re.findall(r'"GET \S*/files/(\S+) HTTP/1.1" 200', docker("logs", INDEX))
    return [str(name) for name in requests]
