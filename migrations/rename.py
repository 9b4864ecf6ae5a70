"""Carry what a team changed in a file over to the file's new name: what a migration of `copier.yml` runs.

    python rename.py TEMPLATE ANSWERS_FILE OLD_VERSION OLD [OLDER ...] NEW

runs in the project, after Copier has rendered NEW and removed OLD. It renders the old version of the template once
more, so that only lines which both sides changed become a conflict, as everywhere in an update. A file that was renamed
more than once has several former names: a project may come from before the first time.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from copier import run_copy

COPY = "copier._main.old_copy."  # as Copier itself calls it: extensions/destination.py knows the answers by it


def git(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run git in the project; whether it succeeded is left to the caller."""
    return subprocess.run(["git", *arguments], capture_output=True, check=False)


def committed(name: str) -> tuple[int, bytes] | None:
    """Return the mode and the content of a regular file of the project's last commit, or nothing."""
    listed = git("ls-tree", "HEAD", "--", name).stdout.split()
    if not listed or not listed[0].startswith(b"100"):
        return None
    return int(listed[0], 8) & 0o777, git("cat-file", "blob", listed[2].decode()).stdout


def write(name: str, mode: int, content: bytes) -> None:
    """Write a file of the project."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content)
    os.chmod(name, mode)


def rename(template: str, answers_file: str, version: str, *names: str) -> None:
    """Merge the project's file into the template's, under the new name, or remove that where the old one was not its.

    Args:
        template: The template's address or folder.
        answers_file: Where Copier keeps the answers, from the project's folder.
        version: The version that the project was at, as a tag or a commit.
        names: The file's former names, from the project's folder, and its new name as the last one.

    Source: https://git-scm.com/docs/git-merge-file
    """
    *former, new = names
    if not Path(new).is_file():
        return
    answers = yaml.safe_load(git("show", f"HEAD:./{answers_file}").stdout)
    given = {name: value for name, value in answers.items() if not name.startswith("_")}
    if any(f"{name}/".startswith(f"{kept}/") for name in former for kept in given.get("own_files", [])):
        if not committed(new):
            Path(new).unlink()
        return
    with tempfile.TemporaryDirectory(prefix=COPY) as folder:
        base = Path(folder) / "base"
        run_copy(template, base, data=given, vcs_ref=version, defaults=True, unsafe=True, quiet=True)
        old = next((name for name in former if (base / name).exists()), None)
        if old is None:  # the project never had it
            return
        ours = committed(old)
        if committed(new):
            if ours and ours[1] != (base / old).read_bytes():
                write(old, *ours)
                print(
                    f"{old} is called {new} now, a name that you have taken: it stays as you made it.", file=sys.stderr
                )
            return
        if ours is None:
            Path(new).unlink()
            return
        merged = Path(folder) / "merged"
        merged.write_bytes(ours[1])
        labels = ["-L", "before updating", "-L", "last update", "-L", "after updating"]
        if git("merge-file", *labels, merged, base / old, Path(new).resolve()).returncode > 127:
            print(f"{new} is as you left {old}: it cannot be merged.", file=sys.stderr)
        write(new, ours[0], merged.read_bytes())
        Path(f"{old}.rej").unlink(missing_ok=True)


if __name__ == "__main__":
    rename(*sys.argv[1:])
