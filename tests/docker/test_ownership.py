"""Files that the targets write belong to the user who called make, and no other files appear in the project."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from tests.support.commands import check_run
from tests.support.docker import HARDENED, become, container, get
from tests.support.made import Made

OURSELVES = (os.getuid(), os.getgid())
# On macOS, the first user and its group have these IDs. Other IDs are tested only with `-m slow`.
CALLERS = [(501, 20), *(pytest.param(caller, marks=pytest.mark.slow) for caller in {OURSELVES, (1000, 1000)})]


@dataclass
class MadeBy(Made):
    """A project that belongs to the user who calls make."""

    uid: int
    gid: int

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs make as that user, with access to Docker."""
        return [*(become(self.uid, self.gid) if (self.uid, self.gid) != OURSELVES else []), "make", *arguments]

    def environment(self) -> dict[str, str]:
        """Return the variables that make runs with as that user."""
        return {**super().environment(), "HOME": str(self.folder.parent)}

    def check_make(self, *arguments: str, **env: str) -> str:
        """Run make as that user, which must succeed, and return its output."""
        return check_run(*self.command(*arguments), cwd=self.folder, **self.environment(), **env)


@pytest.fixture(params=CALLERS, ids=lambda caller: ":".join(map(str, caller)))
def made_by(request: pytest.FixtureRequest, made: Callable[..., Made]) -> Iterator[MadeBy]:
    """Return a project that belongs to a user, in a folder of this user. Only root can become another user."""
    uid, gid = request.param
    if request.param != OURSELVES and os.getuid() != 0:
        pytest.skip("only root can become another user")
    project = made()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(shutil.move(project.folder, f"{home}/project"))
        for path in [Path(home), *Path(home).rglob("*")]:
            os.chown(path, uid, gid)
        yield MadeBy(folder, project.name, project.port, uid, gid)
        shutil.move(folder, project.folder)


def test_files_belong_to_the_caller(made_by: MadeBy) -> None:
    day = made_by
    package = f"src/{day.package.name}"
    day.check_make("add", "PKG=cowsay>=6,<7")
    day.check_make("lock")
    with (day.folder / package / "settings.py").open("a") as text:
        text.write("x = [ 1 ]\n")
    day.check_make("format")
    day.check_make("test")
    shell = pexpect.spawn(
        "env", day.command("shell"), cwd=day.folder, env={**os.environ, **day.environment()}, encoding="utf-8"
    )
    shell.expect("/app", timeout=120)
    shell.sendline("touch from-shell; exit")
    shell.expect(pexpect.EOF, timeout=60)
    shell.close()

    owners = {(path.stat().st_uid, path.stat().st_gid) for path in day.folder.rglob("*")}
    assert owners == {(day.uid, day.gid)}
    git = ("git", "-c", f"safe.directory={day.folder}", "status", "--porcelain", "--ignored")
    changed = [line[3:] for line in check_run(*git, cwd=day.folder).splitlines()]
    assert changed == ["poetry.lock", "pyproject.toml", f"{package}/settings.py", "from-shell"]


@pytest.mark.slow
def test_clone_that_only_its_owner_can_read_builds_and_runs(made: Callable[..., Made]) -> None:
    """Remove the permissions of other users, as `git clone` does with umask 077."""
    day = made("flask")
    for path in day.folder.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    day.check_make("up")
    assert get(day.port, "/health").status == 200
    day.check_make("test")
    day.check_make("build")
    with container(day.name, *HARDENED) as service:
        assert service.health() == "healthy", service.logs()
        assert service.get("/").json()["name"] == day.name
