"""Print the locked tools as requirements that pip installs hash-checked, with nothing but Python there.

`make setup` runs this before any tool is installed, so it uses the standard library alone.
"""

import tomllib
from pathlib import Path
from typing import Any


def requirement(package: dict[str, Any]) -> str:
    """Return a package of `poetry.lock` as a requirement with its marker and hashes.

    Args:
        package: A `[[package]]` table of the lock.

    Returns:
        One line of a requirements file.

    Source: https://pip.pypa.io/en/stable/topics/secure-installs/#hash-checking-mode
    """
    marker = f" ; {package['markers']}" if "markers" in package else ""
    hashes = "".join(f" --hash={file['hash']}" for file in package["files"])
    return f"{package['name']}=={package['version']}{marker}{hashes}"


if __name__ == "__main__":
    lock = tomllib.loads(Path(__file__).parent.parent.joinpath("poetry.lock").read_text(encoding="utf-8"))
    print("\n".join(requirement(package) for package in lock["package"]))
