"""A pipeline that needs a private index: the builds get its password, and nothing that stays contains it."""

from collections.abc import Callable

import pytest

from tests.support.runner import Runner

PASSWORD = "delta-horse-battery"  # noqa: S105
PORT = 8096
# Serves one package to clients that send the password.
INDEX = f"""
import base64, http.server, os, zipfile

os.makedirs("/index/simple/private-demo", exist_ok=True)
name = "private_demo-1.0.0-py3-none-any.whl"
with zipfile.ZipFile(f"/index/simple/private-demo/{{name}}", "w") as wheel:
    about = "private_demo-1.0.0.dist-info"
    wheel.writestr("private_demo.py", "NAME = 'private'\\n")
    wheel.writestr(f"{{about}}/METADATA", "Metadata-Version: 2.1\\nName: private-demo\\nVersion: 1.0.0\\n")
    wheel.writestr(f"{{about}}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(f"{{about}}/RECORD", "")
open("/index/simple/private-demo/index.html", "w").write(f'<a href="{{name}}">{{name}}</a>')

class Index(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") == "Basic " + base64.b64encode(b"user:{PASSWORD}").decode():
            return super().do_GET()
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="private"')
        self.send_header("Content-Length", "0")
        self.end_headers()

os.chdir("/index")
http.server.ThreadingHTTPServer(("", {PORT}), Index).serve_forever()
"""
# Adds the package to pyproject.toml and to the lock, as Poetry does.
LOCK = """
import hashlib, pathlib, re, runpy, sys, tomllib

url, wheel = sys.argv[1], pathlib.Path("/index/simple/private-demo/private_demo-1.0.0-py3-none-any.whl")
pyproject, lock = pathlib.Path("pyproject.toml"), pathlib.Path("poetry.lock")
text = pyproject.read_text().replace("    # Your own", '    "private-demo (==1.0.0)",\\n    # Your own', 1)
pyproject.write_text(text)
package = f'''[[package]]
name = "private-demo"
version = "1.0.0"
description = ""
optional = false
python-versions = "*"
groups = ["main"]
files = [{{file = "{wheel.name}", hash = "sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"}}]

[package.source]
type = "legacy"
url = "{url}"
reference = "private"

[metadata]'''
new_hash = runpy.run_path("docker/export_lock.py")["content_hash"](tomllib.loads(text))
locked = lock.read_text().replace("[metadata]", package, 1)
lock.write_text(re.sub(r'content-hash = ".*"', f'content-hash = "{new_hash}"', locked))
"""
# Prints the files of some folders that contain a text, also in compressed layers.
SEARCH = """
text=$1; shift
find "$@" -type f | while read -r file; do
    zcat --force "$file" 2>/dev/null | grep --quiet --text "$text" && echo "$file"
done; true
"""


@pytest.mark.slow
def test_private_index_is_used_and_its_password_stays_nowhere(
    runner: Runner, project_on_runner: Callable[..., str]
) -> None:
    folder = project_on_runner(app_name="secretive", ci="github")
    for name, text in (("index.py", INDEX), ("lock.py", LOCK)):
        runner.check("python", "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", f"/{name}", text)
    runner.check("sh", "-c", "python /index.py >/dev/null 2>&1 & sleep 1")
    index = f"http://{runner.address}:{PORT}/simple/"
    runner.check("python", "/lock.py", index, cwd=folder)
    runner.commit(folder, "feat: a private dependency")
    secrets = {
        "NETRC": f"machine {runner.address} login user password {PASSWORD}",
        "UV_CONFIG_FILE": f'index = [{{url = "{index}"}}]',
    }
    refused = runner.act("push", folder, "--job=image")
    assert refused.returncode != 0, "it requires the password"
    options = [f"--secret={name}={value}" for name, value in secrets.items()]
    result = runner.act("push", folder, *options)
    assert result.returncode == 0, result.stdout
    assert PASSWORD not in result.stdout
    imported = runner.check(
        "docker", "run", "--rm", "secretive", "python", "-c", "import private_demo as p; print(p.NAME)"
    )
    assert imported.strip() == "private"
    runner.check("sh", "-ec", "mkdir -p /saved; docker save secretive | tar -x -C /saved")
    folders = ("/saved", "/actcache", "/sbom.json")
    assert "/saved/" in runner.check("sh", "-c", SEARCH, "sh", "private_demo", *folders)
    assert runner.check("sh", "-c", SEARCH, "sh", PASSWORD, *folders) == ""
