"""Servers that recipes and the workshop name, such as PostgreSQL: official images, or stand-ins from Debian packages.

A stand-in has the name, the user, the variables and the paths of the official image. It is built from a folder of
`stand_ins`, and only on a machine that has no image of this name and cannot pull it.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import check_build
from tools.questionnaire import base_image

# The start of a Dockerfile that installs Debian packages, whose names follow.
INSTALL = f"""
FROM {base_image()}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends """
STAND_INS = {folder.name: folder for folder in (Path(__file__).parent / "stand_ins").iterdir()}
# The programs of a Docker engine and its client.
PROGRAMS = ("docker", "dockerd", "docker-proxy", "containerd", "containerd-shim-runc-v2", "ctr")


def has_image(name: str) -> bool:
    """Return whether the engine has an image or can pull it."""
    return any(run("docker", *get, name, cwd=ROOT).returncode == 0 for get in (("image", "inspect"), ("pull",)))


def images(text: str) -> set[str]:
    """Return the images that a text names as `image:`."""
    return set(re.findall(r"image: ([\w./-]+:[\w.-]+)", text))


def copy_engine(folder: Path) -> None:
    """Copy the programs of this machine's Docker engine, and the plugins of its client, to a build context."""
    for name in ("programs", "plugins"):
        (folder / name).mkdir()
    for program in PROGRAMS:
        if found := shutil.which(program):
            shutil.copy(found, folder / "programs")
    for plugin in json.loads(check_run("docker", "info", "--format={{json .ClientInfo.Plugins}}", cwd=ROOT)):
        if plugin["Name"] in {"buildx", "compose"}:
            shutil.copy(plugin["Path"], folder / "plugins")


def build_stand_in(folder: Path, name: str) -> None:
    """Build a stand-in from a folder of `stand_ins`."""
    with tempfile.TemporaryDirectory() as context:
        shutil.copytree(folder, context, dirs_exist_ok=True)
        if folder.name == "docker":
            copy_engine(Path(context))
        check_build(Path(context), name, f"--build-arg=BASE={base_image()}")


@contextmanager
def servers(names: Iterable[str]) -> Iterator[None]:
    """Provide images of servers, and remove the stand-ins afterwards."""
    built = []
    for name in names:
        folder = STAND_INS.get(name.rpartition("/")[2].partition(":")[0])
        if folder and not has_image(name):
            build_stand_in(folder, name)
            built.append(name)
    try:
        yield
    finally:
        if built:
            run("docker", "image", "rm", "--force", *built, cwd=ROOT)
