"""Make a project from this checkout as it stands: what `make new` runs.

Copier mixes a project into whatever a folder holds already; here that is refused.
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
        destination: The folder to make.
        data: Answers as a shell writes them, `name=value name='other value'`; may be empty.
        answers: A YAML file of answers; may be empty.

    Returns:
        Arguments of `copier copy`. Where any answer is given, the questions left open take their defaults; otherwise
        Copier asks.

    Raises:
        SystemExit: There is no destination, it holds files already, or the answers cannot be used.
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
    """Say so where the project will hold changes that no commit has: an update could not find them again."""
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
    quiet = {"PYTHONWARNINGS": "ignore"}  # of the uncommitted changes, which are said above
    sys.exit(subprocess.run([copier, "copy", *given], env=os.environ | quiet, check=False).returncode)


if __name__ == "__main__":
    main()
