"""The script that exports a lock while the image is built, as a module, and the environments to test it with."""

import importlib.util
import itertools
from types import ModuleType

from packaging.markers import Marker

from tests.support.commands import ROOT
from tests.support.template import HOST_PYTHON

SCRIPT = ROOT / "template" / "docker" / "export_lock.py"
PLATFORMS = {"linux": ("posix", "Linux"), "darwin": ("posix", "Darwin"), "win32": ("nt", "Windows")}
# The environments to evaluate markers for. Poetry exports only for the Python version that the project requires.
ENVIRONMENTS = [
    {
        "sys_platform": platform,
        "os_name": os_name,
        "platform_system": system,
        "platform_machine": machine,
        "python_version": HOST_PYTHON,
        "python_full_version": f"{HOST_PYTHON}.0",
    }
    for (platform, (os_name, system)), machine in itertools.product(PLATFORMS.items(), ["x86_64", "aarch64"])
]


def load_script() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("export_lock", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


export_lock = load_script()


def installing(marker: str) -> frozenset[int]:
    """Return the numbers of the environments in which a marker is true."""
    numbers = range(len(ENVIRONMENTS))
    return frozenset(number for number in numbers if not marker or Marker(marker).evaluate(ENVIRONMENTS[number]))
