"""A PATH with only a few tools, to test which tools a Makefile needs."""

import shutil
from pathlib import Path

TOOLS = ("sh", "bash", "make", "awk", "sed", "grep", "tail", "head", "id", "echo", "test", "env", "printenv", "find")
NEEDED = (*TOOLS, "cat", "cut", "df", "mktemp", "rm", "tar", "git", "curl", "chmod", "mkdir", "tr")


def path_with(folder: Path, **programs: str) -> str:
    """Return a PATH with a few tools, and with programs that run the given scripts."""
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
