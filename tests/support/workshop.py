"""The benchmark of the workshop."""

from pathlib import Path


def bench(project: Path, *arguments: str) -> list[str | Path]:
    """Return the command that runs a project's benchmark."""
    return ["uv", "run", "--quiet", project / "workshop" / "bench" / "bench.py", *arguments]
