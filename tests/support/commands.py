"""Functions that run commands."""

import io
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, for at most ten minutes.

    Args:
        command: The program and its arguments.
        cwd: The folder to run it in.
        env: Variables to add to the environment.

    Returns:
        The finished process; standard error is part of its output, and its exit code is not checked.
    """
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=600,
        check=False,
    )


def by_hand(*command: str | Path, cwd: Path, **env: str) -> str:
    """Return a shell command that does the same as `run`."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
    return f"cd {shlex.quote(str(cwd))} && {' '.join([*variables, shlex.join(map(str, command))])}"


def check_run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a command that must succeed, as `run` does, and return its output."""
    result = run(*command, cwd=cwd, **env)
    shown = f"{by_hand(*command, cwd=cwd, **env)}\n{result.stdout}"
    assert result.returncode == 0, f"Exit code {result.returncode}: {shown}"
    return result.stdout


def fail_run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a command that must fail, as `run` does, and return its output."""
    result = run(*command, cwd=cwd, **env)
    assert result.returncode != 0, f"Exit code 0: {by_hand(*command, cwd=cwd, **env)}\n{result.stdout}"
    return result.stdout


@contextmanager
def printed() -> Iterator[io.StringIO]:
    """Collect the text that is printed in a `with` statement."""
    text = io.StringIO()
    with redirect_stdout(text), redirect_stderr(text):
        yield text


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop a `with` statement that takes longer, also one that waits for a file.

    Raises:
        TimeoutError: The time is over.
    """

    def stop(*_: object) -> None:
        raise TimeoutError(f"not finished after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def commit(folder: Path, message: str, tag: str = "") -> None:
    """Commit all files of a folder, after creating the repository if it is missing, and add a tag if one is given."""
    check_run("git", "init", "--quiet", "--initial-branch=main", cwd=folder)
    check_run("git", "add", "--all", cwd=folder)
    check_run("git", "commit", "--quiet", "--allow-empty", f"--message={message}", cwd=folder)
    if tag:
        check_run("git", "tag", tag, cwd=folder)
