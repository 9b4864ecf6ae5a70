"""Merge a team's changes of a file into the file under its new name. Migrations in `copier.yml` run this script.

    python rename.py TEMPLATE ANSWERS_FILE OLD_VERSION OLD [OLDER ...] NEW

runs in the project, after Copier has rendered NEW and removed OLD. It renders the old version of the template again, so
that, as in every update, only lines that both sides changed become a conflict. A file that was renamed more than once
has several former names, because the project may be older than the first renaming.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from copier import run_copy

COPY = "copier._main.old_copy."  # the prefix that Copier uses itself, and that extensions/destination.py looks for


def git(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run git in the project. The caller checks the exit code."""
    return subprocess.run(["git", *arguments], capture_output=True, check=False)


def committed(name: str) -> tuple[int, bytes] | None:
    """Return the mode and the content of a regular file in the project's last commit, or None."""
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
    """Merge the project's file into the template's file of the new name, or remove the latter if the project has none.

    Args:
        template: The template's address or folder.
        answers_file: Where Copier keeps the answers, from the project's folder.
        version: The version of the template before the update, as a tag or a commit.
        names: The file's former names, from the project's folder, then its new name.

    Raises:
        SystemExit: A name leads out of the project, or the new one is a link: nothing is written.

    Source: https://git-scm.com/docs/git-merge-file
    """
    *former, new = names
    outside = [name for name in names if not Path(name).parent.resolve().is_relative_to(Path.cwd().resolve())]
    if Path(new).is_symlink() or outside:
        sys.exit(f"{', '.join(outside) or new} must be a file in this project, not a link or outside: move it away.")
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
                print(f"The template renamed {old} to {new}, which you have too: both stay unchanged.", file=sys.stderr)
            return
        if ours is None:
            Path(new).unlink()
            return
        merged = Path(folder) / "merged"
        merged.write_bytes(ours[1])
        labels = ["-L", "before updating", "-L", "last update", "-L", "after updating"]
        if git("merge-file", *labels, merged, base / old, Path(new).resolve()).returncode > 127:
            print(f"{new} cannot be merged: it has the content of your {old}.", file=sys.stderr)
        write(new, ours[0], merged.read_bytes())
        Path(f"{old}.rej").unlink(missing_ok=True)


if __name__ == "__main__":
    rename(*sys.argv[1:])
