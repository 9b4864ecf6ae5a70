"""A machine that has only a few tools, for tests of what a Makefile needs."""

import shutil
from pathlib import Path

TOOLS = ("sh", "bash", "make", "awk", "sed", "grep", "tail", "head", "id", "echo", "test", "env", "printenv", "find")
NEEDED = (*TOOLS, "cat", "cut", "df", "mktemp", "rm", "tar", "git", "curl", "chmod", "mkdir", "tr")


def path_with(folder: Path, **programs: str) -> str:
    """Return a PATH with the tools of a bare machine, and with programs that have the given scripts."""
    tools = folder / "bin"
    tools.mkdir()
    for name in NEEDED:
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    for name, script in programs.items():
        program = tools / name.replace("_", "-")
        program.unlink(missing_ok=True)  # a link to the tool of this machine
        program.write_text(script)
        program.chmod(0o755)
    return str(tools)
