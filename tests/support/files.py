"""Functions that edit files."""

from pathlib import Path


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
