"""Create a project from this checkout, including uncommitted changes. `make new` runs this.

Copier adds a project to the files that a folder already has. This script requires a new or empty folder.
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def arguments(destination: str, data: str, answers: str) -> list[str]:
    """Return the arguments for Copier.

    Args:
        destination: The folder to create.
        data: Answers as a shell writes them, `name=value name='other value'`; may be empty.
        answers: A YAML file of answers; may be empty.

    Returns:
        The arguments of `copier copy`. If answers are given, Copier uses the defaults for the other questions.
        Otherwise, it asks.

    Raises:
        SystemExit: The destination is missing, it already has files, or the answers are invalid.
    """
    if not destination:
        raise SystemExit("Say where the project goes: make new DEST=../my-service.")
    folder = Path(destination).expanduser()
    if folder.exists() and (not folder.is_dir() or any(entry.name != ".git" for entry in folder.iterdir())):
        raise SystemExit(f"{folder} is there already: choose a folder that is new or empty.")
    given = ["--trust", "--vcs-ref=HEAD"]
    if data or answers:
        given.append("--defaults")
    if answers:
        try:
            from_file = yaml.safe_load(Path(answers).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise SystemExit(f"{answers} is no YAML file that can be read: {' '.join(str(error).split())}.") from error
        if not isinstance(from_file, dict):
            raise SystemExit(f"{answers} must hold answers, one 'question: answer' a line.")
        given.append(f"--data-file={answers}")
    try:
        pairs = shlex.split(data)
    except ValueError as error:
        raise SystemExit(f"DATA has a quote or a backslash without its partner: {data}") from error
    for pair in pairs:
        if "=" not in pair:
            raise SystemExit(f"DATA must be written question=answer, with quotes around spaces, not {pair!r}.")
        given.append(f"--data={pair}")
    return [*given, str(ROOT), str(folder)]


def warn_of_uncommitted_changes() -> None:
    """Warn if the checkout has uncommitted changes: an update of the project cannot find this version."""
    status = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=False)
    if status.stdout:
        print(
            "The template has uncommitted changes: `copier update` will not find this version again.", file=sys.stderr
        )


def main() -> None:
    """Read the command line, then run Copier."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("destination", "data", "answers"):
        parser.add_argument(f"--{name}", default="")
    given = arguments(**vars(parser.parse_args()))
    warn_of_uncommitted_changes()
    copier = Path(sys.executable).with_name("copier")
    quiet = {"PYTHONWARNINGS": "ignore"}  # Copier also warns of uncommitted changes
    sys.exit(subprocess.run([copier, "copy", *given], env=os.environ | quiet, check=False).returncode)


if __name__ == "__main__":
    main()
