"""Print the locked tools as requirements that pip installs hash-checked, with nothing but Python there.

`make setup` runs this before any tool is installed, so it uses the standard library alone. Unlike the script of the
projects' images, whose function it calls, it exports a lock that is stale too: the tools are needed to renew it.
"""

import runpy
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

if __name__ == "__main__":
    export_lock = runpy.run_path(str(ROOT / "template" / "docker" / "export_lock.py"))
    lock = tomllib.loads(ROOT.joinpath("poetry.lock").read_text(encoding="utf-8"))
    print("\n".join(export_lock["requirements"](lock)))
