"""Carry what a team changed in a file over to the file's new name: what a migration of `copier.yml` runs.

    python rename.py TEMPLATE OLD_VERSION OLD NEW

runs in the project, after Copier has rendered NEW and removed OLD. It renders the old version of the template once
more, so that only lines which both sides changed become a conflict, as everywhere in an update.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from copier import run_copy

ANSWERS_FILE = ".copier-answers.yml"


def git(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run git in the project; whether it succeeded is left to the caller."""
    return subprocess.run(["git", *arguments], capture_output=True, check=False)


def rename(template: str, version: str, old: str, new: str) -> None:
    """Merge the project's OLD into the template's NEW, or remove NEW where the team had removed OLD.

    Args:
        template: The template's address or folder.
        version: The version that the project was at, as a tag or a commit.
        old: The file's name in that version, from the project's folder.
        new: Its name in the version that the update brings.

    Source: https://git-scm.com/docs/git-merge-file
    """
    ours = git("show", f"HEAD:./{old}")
    if not Path(new).exists() or git("cat-file", "-e", f"HEAD:./{new}").returncode == 0:
        return
    if ours.returncode:
        Path(new).unlink()
        return
    answers = yaml.safe_load(git("show", f"HEAD:./{ANSWERS_FILE}").stdout)
    given = {name: value for name, value in answers.items() if not name.startswith("_")}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        run_copy(template, base, data=given, vcs_ref=version, defaults=True, unsafe=True, quiet=True)
        merged = Path(folder) / "merged"
        merged.write_bytes(ours.stdout)
        labels = ["-L", "before updating", "-L", "last update", "-L", "after updating"]
        git("merge-file", *labels, merged, base / old, Path(new).resolve())
        shutil.copyfile(merged, new)


if __name__ == "__main__":
    rename(*sys.argv[1:])
