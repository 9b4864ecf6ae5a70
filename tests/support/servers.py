"""Servers that the recipes name, such as PostgreSQL: their official images, or stand-ins from Debian packages.

A stand-in has the name, the user, the variables and the paths of the official image. It is built from a folder of
`stand_ins`, and only on a machine that has no image of this name and cannot pull it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import ROOT, run
from tests.support.docker import check_build
from tools.questionnaire import base_image

# The start of a Dockerfile that installs Debian packages, whose names follow.
INSTALL = f"""
FROM {base_image()}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends """
STAND_INS = {folder.name: folder for folder in (Path(__file__).parent / "stand_ins").iterdir()}


def has_image(name: str) -> bool:
    """Return whether the engine has an image or can pull it."""
    return any(run("docker", *get, name, cwd=ROOT).returncode == 0 for get in (("image", "inspect"), ("pull",)))


def images(text: str) -> set[str]:
    """Return the images that a text names as `image:`."""
    return set(re.findall(r"image: ([\w./-]+:[\w.-]+)", text))


@contextmanager
def servers(compose: str) -> Iterator[None]:
    """Provide the servers that a text names as `image:`, and remove the stand-ins afterwards."""
    built = []
    for name in images(compose):
        folder = STAND_INS.get(name.rpartition("/")[2].partition(":")[0])
        if folder and not has_image(name):
            check_build(folder, name, f"--build-arg=BASE={base_image()}")
            built.append(name)
    try:
        yield
    finally:
        if built:
            run("docker", "image", "rm", "--force", *built, cwd=ROOT)
