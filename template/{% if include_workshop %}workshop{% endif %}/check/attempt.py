"""One check of a lesson: a copy of the project with the files to check, and what is built."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import engine
from copies import Copy
from engine import Build, Layer
from facts import BASE, LABEL, NAME, POETRY_PLUGINS, PROJECT

if TYPE_CHECKING:
    from ci import Machine

IMAGE = f"{NAME}-workshop-check"


class MissedError(Exception):
    """A goal is missed. The message is a sentence that helps."""


class Attempt:
    """A copy of the project with the files of a lesson, and the image that is built from it.

    Attributes:
        copy: The copy of the project.
        files: The folder of the lesson in the copy.
        figures: The measurements, by name.
        user: The IDs of the learner.
        password: The password of the private index.
        marker: A text in the files that belong in no image.
        options: More options of each build.
        log: The logs of all builds, each with the sizes of the layers.
    """

    def __init__(
        self, lesson: Path, solution: Iterable[Path], folder: Path, user: tuple[int, int]
    ) -> None:
        """Copy the project and the files.

        Args:
            lesson: The folder of the lesson.
            solution: Files that replace those of the lesson.
            folder: A folder for the copy.
            user: The IDs of the learner.
        """
        self.copy = Copy(folder / "project")
        self.files = self.copy.folder / lesson.relative_to(PROJECT)
        self.figures: dict[str, float] = {}
        self.user = user
        self.password = secrets.token_hex(12)
        self.log = ""
        self.marker = secrets.token_hex(12)
        self.is_built = False
        self._layers: list[Layer] | None = None
        self.resources = ExitStack()
        self.machine: Machine | None = None
        self.options: tuple[str, ...] = ()
        for file in solution:
            shutil.copy(file, self.files)

    def plant_private_files(self) -> None:
        """Write files that belong in no image."""
        self.copy.plant(self.marker)

    def hand_over_password(self) -> None:
        """Write the password of the private index to a file, and make it a secret of the build."""
        netrc = self.copy.folder / "netrc"
        netrc.write_text(
            f"machine 127.0.0.1 login learner password {self.password}\n", encoding="utf-8"
        )
        self.options = (f"--secret=id=netrc,src={netrc}",)

    def forget_builds(self) -> None:
        """Build without the cache of earlier builds, as on another machine.

        The cache tells the steps of builds with another host apart. Without it, the other lessons
        would find the steps that installed the releases of this lesson's index.
        """
        self.options = ("--no-cache", "--add-host=tomorrow:127.0.0.1")

    def build_once(self) -> None:
        """Build the image, unless it was built before.

        Raises:
            MissedError: The build failed.
        """
        if not self.is_built:
            self.build()

    def build(self, *options: str) -> Build:
        """Build the image.

        Raises:
            MissedError: The build failed.
        """
        done = engine.build(
            self.copy.folder,
            self.files / "Dockerfile",
            IMAGE,
            f"--label={LABEL}",
            f"--build-arg=PYTHON_IMAGE={BASE}",
            f"--build-arg=POETRY_PLUGINS={POETRY_PLUGINS}",
            "--build-arg=BUILDKIT_CACHE_MOUNT_NS=workshop",
            f"--build-arg=APP_UID={self.user[0]}",
            f"--build-arg=APP_GID={self.user[1]}",
            *self.options,
            *options,
        )
        self.log += done.log
        if not done.succeeded:
            raise MissedError(f"the build failed: {done.error}")
        self.is_built = True
        self._layers = None
        self.log += f"\n{engine.history(IMAGE)}\n"
        self.figures["image, MB"] = (
            int(engine.docker("image", "inspect", "--format={{.Size}}", IMAGE)) / 1e6
        )
        return done

    @property
    def layers(self) -> list[Layer]:
        """Return the layers that the image adds to its base, after the last build."""
        if self._layers is None:
            self.find(b"")
        return self._layers or []

    def find(self, needle: bytes) -> list[str]:
        """Return the files in the layers that contain some bytes, after the last build."""
        self.build_once()
        self._layers, holding = engine.own_layers(IMAGE, BASE, needle)
        return holding

    @property
    def packages(self) -> dict[str, set[tuple[str, float]]]:
        """Return the Python packages in the image: each version and its time of installation."""
        found: dict[str, tuple[str, str, float]] = {}
        for layer in self.layers:
            found |= layer.packages()
        packages: dict[str, set[tuple[str, float]]] = {}
        for name, version, time in found.values():
            packages.setdefault(name, set()).add((version, time))
        return packages
