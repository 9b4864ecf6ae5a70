"""Print the locked tools as requirements with hashes, which pip can install.

`make setup` runs this before any tool is installed, so it uses only the standard library. It calls a function of the
script in the projects' images, but it also exports a stale lock, because the tools are needed to renew that lock.
"""

import runpy
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

if __name__ == "__main__":
    export_lock = runpy.run_path(str(ROOT / "template" / "docker" / "export_lock.py"))
    lock = tomllib.loads(ROOT.joinpath("poetry.lock").read_text(encoding="utf-8"))
    print("\n".join(export_lock["requirements"](lock)))
