"""Functions that edit files."""

import os
from collections.abc import Callable
from pathlib import Path


def make_huge_file(path: Path) -> None:
    """Make a file of 8 GB that needs no space on the disk."""
    path.touch()
    os.truncate(path, 2**33)


# Make something at a path that is no file that a program can read to its end.
NO_FILES: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
    "endless file": lambda path: path.symlink_to("/dev/zero"),
    "huge file": make_huge_file,
}


def replace(file: Path, old: str, new: str) -> None:
    """Replace every occurrence of a text in a file, which must have one."""
    text = file.read_text()
    assert old in text, f"{file} does not contain {old!r}"
    file.write_text(text.replace(old, new))


def edit(file: Path, *replacements: tuple[str, str]) -> None:
    """Replace the first occurrence of each text in a file, which must have one."""
    text = file.read_text()
    for old, new in replacements:
        assert old in text, f"{file} does not contain {old!r}"
        text = text.replace(old, new, 1)
    file.write_text(text)
