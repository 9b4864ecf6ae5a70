"""Record the first five minutes with a new project, in a terminal, for `docs/first-five-minutes.md`.

`make record` runs this. It needs Docker and tmux, and takes the port and the name of the default project.
"""

import os
import shutil
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "first-five-minutes.md"
PROMPT = "$"
COLUMNS, LINES = 110, 45
SECONDS = 120

INTRODUCTION = """# The first five minutes

What a terminal shows from `make new` to `make down`, recorded with tmux by `make record` on {date}, with Docker
{engine}, Compose {compose} and caches that had seen other projects. Nothing is left out or made up.

"""

COMMANDS = [
    "make new DEST=../my-service DATA=framework=fastapi",
    "cd ../my-service",
    "git init --quiet -b main && git add . && git commit --quiet -m 'feat: start from the template'",
    "make",
    "make up",
    "curl --silent localhost:8000; echo",
    """sed -i 's/name=app.title/name="Hello"/' src/my_service/app.py""",
    "sleep 1; curl --silent localhost:8000; echo",
    "git restore src",
    "make test",
    'make add PKG="httpx>=0.28"',
    "make up",
    "git commit --all --quiet -m 'feat: ask other services'",
    "make hooks",
    "echo 'x = [ 1 ]' >> src/my_service/app.py",
    "git commit --all -m 'feat: a list'",
    "make format",
    "git restore src && git reset --quiet --hard",
    "make doctor",
    "make down",
]


def environment() -> dict[str, str]:
    """Return the caller's environment without what make adds to it."""
    return {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}


def tmux(*arguments: str) -> str:
    """Run tmux on a server of our own, and return what it printed."""
    command = ("tmux", "-L", "record", *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout


def screen() -> str:
    """Return everything that the terminal has shown, without the spaces that end its lines."""
    lines = tmux("capture-pane", "-p", "-S", "-").splitlines()
    return "\n".join(line.rstrip() for line in lines).rstrip()


def wait_for_prompt(seconds: float = SECONDS) -> None:
    """Wait until the terminal's last line is a prompt.

    Args:
        seconds: How long to wait at most, in seconds.

    Raises:
        SystemExit: The command is still running then; the message is what the terminal shows.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.3)
        if screen().splitlines()[-1:] == [PROMPT]:
            return
    raise SystemExit(f"The recording waited for {seconds:.0f} seconds:\n{screen()}")


def record(template: Path) -> str:
    """Type the commands in a terminal whose folder is the template's, and return what it shows.

    Raises:
        SystemExit: Another target failed than the one that refuses a commit, or a command did not end.
    """
    tmux(
        "-f", "/dev/null", "new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES), "-c", str(template), "bash --norc"
    )
    try:
        tmux("set-option", "-g", "history-limit", "10000")
        tmux("respawn-pane", "-k", "-c", str(template), f"PS1='{PROMPT} ' exec bash --norc")
        wait_for_prompt()
        for command in COMMANDS:
            tmux("send-keys", "-l", command)
            tmux("send-keys", "Enter")
            wait_for_prompt()
        shown = screen().removesuffix(PROMPT).rstrip()
    finally:
        tmux("kill-server")
    if shown.count("make: ***") != 1:
        raise SystemExit(f"One target must fail, which refuses a commit, and no other:\n{shown}")
    return shown


def version(*command: str) -> str:
    """Return what a command prints of its version."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Record, and write the page.

    Raises:
        SystemExit: tmux is missing, a command did not end, or failed.
    """
    if not shutil.which("tmux"):
        raise SystemExit("tmux is missing: install it, then make record again.")
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(template)], check=True)
        subprocess.run(["make", "--silent", "setup"], cwd=template, env=environment(), check=True)
        shown = record(template)
    introduction = INTRODUCTION.format(
        date=datetime.now(tz=UTC).date(),
        engine=version("docker", "version", "--format", "{{.Server.Version}}"),
        compose=version("docker", "compose", "version", "--short"),
    )
    PAGE.write_text(f"{introduction}```console\n{shown}\n```\n", encoding="utf-8")


if __name__ == "__main__":
    main()
