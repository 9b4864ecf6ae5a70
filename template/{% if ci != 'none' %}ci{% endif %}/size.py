"""Print the size of this image by package as JSON, or compare it with an earlier one.

Usage: python size.py [FILE]. With a file, exit with 1 if the image is more than 10 % larger.
"""

import json
import os
import re
import sys
from importlib.metadata import distributions
from pathlib import Path

LIMIT = 1.1  # times the recorded size
NOT_THE_IMAGE = {"/proc", "/sys", "/dev", "/ci"}


def size(path: str) -> int:
    """Return the size of a file in bytes, or 0 if there is none."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def measure() -> dict[str, int]:
    """Return the bytes of each Python and Debian package, of the rest, and of all files."""
    sizes: dict[str, int] = {}
    for package in distributions():
        name = f"{package.name} {package.version}"
        sizes[name] = sum(size(str(file.locate())) for file in package.files or [])
    status = Path("/var/lib/dpkg/status")
    for entry in status.read_text().split("\n\n") if status.exists() else []:
        fields = dict(re.findall(r"^([\w-]+): (.*)$", entry, re.MULTILINE))
        if "Installed-Size" in fields:
            sizes[f"debian:{fields['Package']}"] = int(fields["Installed-Size"]) * 1024
    total = 0
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in NOT_THE_IMAGE]
        total += sum(size(os.path.join(folder, name)) for name in files)
    return sizes | {"other": max(0, total - sum(sizes.values())), "total": total}


def growth(before: dict[str, int], now: dict[str, int]) -> list[str]:
    """Return a line for each package that is larger, the one that grew most first."""

    def name(package: str) -> str:
        return package.split(" ")[0]

    earlier = {name(package): number for package, number in before.items()}
    grown = {package: number - earlier.get(name(package), 0) for package, number in now.items()}
    largest = sorted(grown.items(), key=lambda item: -item[1])
    return [f"{number / 1e6:+8.1f} MB  {package}" for package, number in largest if number > 50_000]


def main(arguments: list[str]) -> int:
    """Print the sizes, or what has grown, and return the exit code."""
    now = measure()
    if not arguments:
        for package, number in sorted(now.items(), key=lambda item: -item[1])[:20]:
            print(f"{number / 1e6:8.1f} MB  {package}", file=sys.stderr)
        print(json.dumps(now, indent=2, sort_keys=True))
        return 0
    recorded = Path(arguments[0])
    if not recorded.exists():
        print("No size is recorded: run `make size` and commit ci/size.json.")
        return 0
    before = json.loads(recorded.read_text())
    print(f"{now['total'] / 1e6:.1f} MB, recorded {before['total'] / 1e6:.1f} MB")
    if now["total"] <= LIMIT * before["total"]:
        return 0
    print("The image has grown by more than 10 %:", *growth(before, now), sep="\n")
    print("If that is right, run `make size` and commit ci/size.json.")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
