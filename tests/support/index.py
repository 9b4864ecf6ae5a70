"""A package index that requires a password, in a container."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import inspect
from tests.support.packages import python_project
from tools.questionnaire import base_image

# Serves the working directory, except git repositories, to clients that send the password.
SERVER = """
import base64, http.server

class Index(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        expected = "Basic " + base64.b64encode(b"{login}:{password}").decode()
        if self.path.startswith("/git/") or self.headers.get("Authorization") == expected:
            return super().do_GET()
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="index"')
        self.end_headers()

http.server.ThreadingHTTPServer(("", 80), Index).serve_forever()
"""


@contextmanager
def private_index(folder: Path, login: str, password: str) -> Iterator[str]:
    """Serve an index with the package `secret-sauce`, and yield its address, without a scheme and a path.

    Args:
        folder: A folder for the files of the package. The index serves its subfolder `served`.
        login: The name of the user.
        password: The password.
    """
    served = folder / "served"
    wheels = served / "simple" / "secret-sauce"
    wheels.mkdir(parents=True)
    source = python_project(folder / "secret-sauce", "secret-sauce")
    check_run("poetry", "build", "--format=wheel", f"--output={wheels}", cwd=source)
    (served / "serve.py").write_text(SERVER.format(login=login, password=password))
    options = ("--detach", f"--volume={served}:/srv:ro", "--workdir=/srv")
    identity = check_run("docker", "run", *options, base_image(), "python", "serve.py", cwd=ROOT).strip()
    try:
        yield str(inspect("container", identity)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])
    finally:
        run("docker", "rm", "--force", identity, cwd=ROOT)
