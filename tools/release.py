"""Release the template: `make release VERSION=1.2.0` commits and tags, and pushing the tag publishes.

Copier uses the newest tag that is a PEP 440 version, and orders migrations by version.
"""

import argparse
import re
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import InvalidVersion, Version

CHANGELOG = Path("CHANGELOG.md")
UNRELEASED = "## [Unreleased]\n"


def git(*arguments: str) -> str:
    """Run git in the current folder, and return what it printed.

    Raises:
        SystemExit: git failed. It has printed the reason.
    """
    done = subprocess.run(["git", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout.strip()


def parse(version: str) -> Version:
    """Parse a version, which must be in its normal form.

    Raises:
        SystemExit: It is not the version of a release, or not in its normal form.

    Source: PEP 440, https://peps.python.org/pep-0440/#normalization
    """
    try:
        parsed = Version(version)
    except InvalidVersion as error:
        raise SystemExit(f"VERSION must be a version such as 1.2.0 or 1.2.0rc1, not {version!r}.") from error
    if parsed.local or parsed.epoch:
        raise SystemExit(f"VERSION must be the version of a release, not {version}.")
    if str(parsed) != version:
        raise SystemExit(f"VERSION must be written {parsed}, not {version}.")
    return parsed


def notes(changelog: str, version: str) -> str:
    """Return the entry of a version in a changelog.

    Args:
        changelog: The text, in the form of Keep a Changelog.
        version: A version, or `Unreleased`.

    Raises:
        SystemExit: The entry is missing or empty.

    Source: https://keepachangelog.com/en/1.1.0/
    """
    entry = re.search(rf"^## \[{re.escape(version)}\].*\n(?s:(.*?))(?=^## \[|\Z)", changelog, re.MULTILINE)
    if entry is None or not re.search(r"^- ", entry[1], re.MULTILINE):
        raise SystemExit(f"CHANGELOG.md says nothing under [{version}]: write there what is new in it.")
    return entry[1].strip() + "\n"


def tagged() -> list[Version]:
    """Return the versions that are tagged. Tags that are not versions are ignored."""
    versions = []
    for tag in git("tag").split():
        with suppress(InvalidVersion):
            versions.append(Version(tag))
    return versions


def release(version: str) -> None:
    """Move the unreleased entries of the changelog to a version with today's date, commit and tag.

    Raises:
        SystemExit: The version is invalid or not newer than all tags, the tree is not clean, or nothing is unreleased.
    """
    wanted = parse(version)
    if git("status", "--porcelain"):
        raise SystemExit("The checkout has changes: commit them, then release.")
    if newer := [version for version in tagged() if version >= wanted]:
        raise SystemExit(f"VERSION must be newer than {max(newer)}, which is tagged already.")
    changelog = CHANGELOG.read_text(encoding="utf-8")
    notes(changelog, "Unreleased")
    heading = f"{UNRELEASED}\n## [{version}] - {datetime.now(UTC):%Y-%m-%d}\n"
    CHANGELOG.write_text(changelog.replace(UNRELEASED, heading, 1), encoding="utf-8")
    try:
        git("commit", "--quiet", "--all", f"--message=chore: release {version}")
    except SystemExit:
        git("checkout", "--quiet", "HEAD", "--", str(CHANGELOG))
        raise
    git("tag", "--annotate", f"--message={version}", version)
    print(f"{version} is committed and tagged: git push --follow-tags publishes it.")


def main() -> None:
    """Read the command line, then release a version or print its changelog entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", action="store_true")
    parser.add_argument("version")
    arguments = parser.parse_args()
    if arguments.notes:
        print(notes(CHANGELOG.read_text(encoding="utf-8"), str(parse(arguments.version))), end="")
    else:
        release(arguments.version)


if __name__ == "__main__":
    main()
