"""The lessons, in their order, and what each checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import ci
import goals
from attempt import Attempt
from facts import PROJECT, WORKSHOP


@dataclass(frozen=True)
class Lesson:
    """A lesson.

    Attributes:
        name: The name of its folder.
        goals: The functions that check its goals.
        set_up: Prepares the copy of the project before the first build.
        packages: More folders of the index, or None for a lesson that starts its own.
    """

    name: str
    goals: tuple[Callable[[Attempt], None], ...]
    set_up: Callable[[Attempt], None] = field(default=lambda attempt: None)
    packages: tuple[str, ...] | None = ()

    @property
    def number(self) -> str:
        """Return the number, such as 04."""
        return self.name[:2]

    @property
    def folder(self) -> Path:
        """Return the folder of the lesson."""
        return WORKSHOP / self.name

    @property
    def solution(self) -> list[Path]:
        """Return the files of the solution. The last lesson's is the project's Dockerfile."""
        own = self.folder / "solution"
        return sorted(own.iterdir()) if own.exists() else [PROJECT / "Dockerfile"]

    @property
    def title(self) -> str:
        """Return the title of the page."""
        heading = (self.folder / "README.md").read_text(encoding="utf-8").partition("\n")[0]
        return heading.removeprefix("# ")


LESSONS = (
    Lesson("00-set-up", (goals.serves,)),
    Lesson("01-naive", (goals.serves, goals.has_no_development_tools, goals.has_no_cache)),
    Lesson(
        "02-layers",
        (goals.serves, goals.leaves_out_private_files, goals.test_edit_installs_nothing),
        set_up=Attempt.plant_private_files,
    ),
    Lesson(
        "03-pins",
        (goals.serves, goals.has_the_locked_versions),
        set_up=Attempt.forget_builds,
        packages=("/tomorrow",),
    ),
    Lesson("04-dependencies-first", (goals.serves, goals.source_edit_installs_nothing)),
    Lesson("05-stages", (goals.serves, goals.has_no_build_tools, goals.has_no_cache)),
    Lesson(
        "06-cache-mounts",
        (goals.new_dependency_is_downloaded_alone, goals.serves, goals.has_no_cache),
    ),
    Lesson("07-version-bump", (goals.serves, goals.version_bump_installs_nothing)),
    Lesson(
        "08-user",
        (goals.serves, goals.is_not_root, goals.files_belong_to_you, goals.code_is_not_writable),
    ),
    Lesson(
        "09-process-1",
        (goals.serves, goals.stops_cleanly, goals.runs_read_only, goals.notices_a_hang),
    ),
    Lesson(
        "10-secrets",
        (goals.private_package_is_installed, goals.password_is_nowhere),
        set_up=Attempt.hand_over_password,
    ),
    Lesson("11-ci", (ci.job_pushes_an_image, ci.second_job_installs_nothing), packages=None),
    Lesson(
        "12-this-project",
        (
            goals.serves,
            goals.has_no_development_tools,
            goals.has_no_build_tools,
            goals.source_edit_installs_nothing,
            goals.version_bump_installs_nothing,
            goals.is_not_root,
            goals.code_is_not_writable,
            goals.stops_cleanly,
            goals.runs_read_only,
            goals.notices_a_hang,
        ),
    ),
)
