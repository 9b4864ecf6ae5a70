"""`make add` and `make build` work with private indexes and git servers, and no secret stays in the image."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run, commit, run
from tests.support.docker import REPOSITORY, build_server, get, inspect, is_in_layers
from tests.support.files import edit
from tests.support.made import Made
from tests.support.packages import imports, python_project
from tools.questionnaire import base_image

pytestmark = pytest.mark.slow

# The passwords of two indexes and of a git server, which have the same host name.
PASSWORDS = {"team-a": "alpha-horse-battery", "team-b": "beta-horse-battery", "git": "gamma-horse-battery"}
# Serves each folder over HTTPS, once there is a certificate, to clients that send its password; and git over SSH.
SERVER = f"""
import base64, http.server, pathlib, ssl, subprocess, time

PASSWORDS = {PASSWORDS}
subprocess.run(["/usr/sbin/sshd", "-o", "AuthorizedKeysFile=/srv/key.pub", "-o", "StrictModes=no"], check=True)
while not pathlib.Path("/srv/server.crt").exists():
    time.sleep(0.1)

class Company(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        credentials = f"user:{{PASSWORDS[self.path.split('/')[1]]}}".encode()
        if self.headers.get("Authorization") == "Basic " + base64.b64encode(credentials).decode():
            return super().do_GET()
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="company"')
        self.send_header("Content-Length", "0")
        self.end_headers()

server = http.server.ThreadingHTTPServer(("", 443), Company)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("/srv/server.crt", "/srv/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
SERVER_IMAGE = f"""
FROM {base_image()}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends git openssh-server && mkdir -p /run/sshd \\
    && git config --system safe.directory '*'
"""
SOURCES = """
[[tool.poetry.source]]
name = "team-a"
url = "https://{host}/team-a/simple/"
priority = "explicit"

[[tool.poetry.source]]
name = "team-b"
url = "https://{host}/team-b/simple/"
priority = "explicit"
"""


@dataclass
class Company:
    """The servers of a company.

    Attributes:
        host: The address of the servers.
        base: The base image of the company, whose system store has its certificate authority.
        files: A folder with the files that the documentation describes: netrc, uv.toml, auth.toml and known_hosts.
        agent: The socket of an SSH agent with a key that the git server accepts.
    """

    host: str
    base: str
    files: Path
    agent: str

    def variables(self) -> dict[str, str]:
        """Return the variables of docs/dependencies.md."""
        return {
            "NETRC": str(self.files / "netrc"),
            "UV_CONFIG_FILE": str(self.files / "uv.toml"),
            "POETRY_AUTH_FILE": str(self.files / "auth.toml"),
            "KNOWN_HOSTS": str(self.files / "known_hosts"),
            "SSH_AUTH_SOCK": self.agent,
        }


def write_certificates(folder: Path, host: str) -> None:
    """Write a certificate authority, ca.crt, and a certificate for the host that it signed, server.crt."""
    options = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    authority = ("-subj=/CN=Company", *usage, "-keyout=ca.key", "-out=ca.crt")
    check_run("openssl", "req", "-x509", *options, *authority, cwd=folder)
    check_run("openssl", "req", *options, f"-subj=/CN={host}", "-keyout=server.key", "-out=server.csr", cwd=folder)
    (folder / "names").write_text(f"subjectAltName=IP:{host}\nauthorityKeyIdentifier=keyid\n")
    signed = (
        "-req",
        "-in=server.csr",
        "-CA=ca.crt",
        "-CAkey=ca.key",
        "-CAcreateserial",
        "-extfile=names",
        "-days",
        "2",
    )
    check_run("openssl", "x509", *signed, "-out=signed.crt", cwd=folder)
    (folder / "signed.crt").rename(folder / "server.crt")


def trusting_base(folder: Path) -> str:
    """Return a base image whose system store has the authority of a folder, and which sets only the variable PATH."""
    name = f"{REPOSITORY}:company-base"
    identity = check_run("docker", "create", base_image(), cwd=ROOT).strip()
    bundle = "etc/ssl/certs/ca-certificates.crt"
    check_run("docker", "cp", "--follow-link", f"{identity}:/{bundle}", folder / "bundle", cwd=ROOT)
    with (folder / "bundle").open("a") as store:
        store.write((folder / "ca.crt").read_text())
    check_run("docker", "cp", folder / "bundle", f"{identity}:/{bundle}", cwd=ROOT)
    archive = folder / "base.tar"
    check_run("docker", "export", f"--output={archive}", identity, cwd=ROOT)
    variables = "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    check_run("docker", "import", f"--change={variables}", archive, name, cwd=ROOT)
    check_run("docker", "rm", identity, cwd=ROOT)
    archive.unlink()
    return name


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    """Serve two indexes and a git repository, over HTTPS with passwords, and the repository over SSH."""
    served = tmp_path / "served"
    for team, name in (("team-a", "alpha-sauce"), ("team-b", "beta-sauce")):
        wheels = served / team / "simple" / name
        wheels.mkdir(parents=True)
        check_run("poetry", "build", "--format=wheel", f"--output={wheels}", cwd=python_project(tmp_path / name, name))
    for name in ("by-https", "by-ssh"):
        source = python_project(tmp_path / name, name)
        commit(source, "first")
        check_run("git", "clone", "--quiet", "--bare", source, served / "git" / f"{name}.git", cwd=tmp_path)
        check_run("git", "update-server-info", cwd=served / "git" / f"{name}.git")
    (served / "server.py").write_text(SERVER)
    check_run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key", cwd=tmp_path)
    shutil.copy(tmp_path / "key.pub", served)
    (tmp_path / "image").mkdir()
    image = build_server(tmp_path / "image", "company-server", SERVER_IMAGE)
    options = ("--detach", f"--volume={served}:/srv:ro", "--workdir=/srv")
    identity = check_run("docker", "run", *options, image, "python", "server.py", cwd=ROOT).strip()
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL)
    try:
        host = str(inspect("container", identity)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])
        write_certificates(served, host)
        while not (tmp_path / "agent").exists():
            time.sleep(0.05)
        check_run("ssh-add", "-q", tmp_path / "key", cwd=tmp_path, SSH_AUTH_SOCK=str(tmp_path / "agent"))
        key = check_run("docker", "exec", identity, "cat", "/etc/ssh/ssh_host_ed25519_key.pub", cwd=ROOT)
        (tmp_path / "known_hosts").write_text(f"{host} {key}")
        (tmp_path / "netrc").write_text(f"machine {host} login user password {PASSWORDS['git']}\n")
        teams = ("team-a", "team-b")
        addresses = (f'[[index]]\nurl = "https://user:{PASSWORDS[team]}@{host}/{team}/simple/"\n' for team in teams)
        (tmp_path / "uv.toml").write_text("\n".join(addresses))
        tables = (f'[http-basic.{team}]\nusername = "user"\npassword = "{PASSWORDS[team]}"\n' for team in teams)
        (tmp_path / "auth.toml").write_text("\n".join(tables))
        yield Company(host, trusting_base(served), tmp_path, str(tmp_path / "agent"))
    finally:
        agent.kill()
        agent.wait()
        run("docker", "rm", "--force", identity, cwd=ROOT)
        run("docker", "image", "rm", "--force", f"{REPOSITORY}:company-base", cwd=ROOT)


def test_private_dependencies_of_every_kind_are_locked_and_built(
    made: Callable[..., Made], company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = made()
    # The containers of a project and those of a build are in different networks by default.
    poetry = "    environment:\n      POETRY_PYPI_MIRROR_URL:"
    edit(day.folder / "docker-compose.override.yml", (poetry, f"    network_mode: bridge\n{poetry}"))
    edit(day.folder / "Dockerfile", (f"PYTHON_IMAGE={base_image()}", f"PYTHON_IMAGE={company.base}"))
    edit(day.folder / "pyproject.toml", ("[tool.ruff]\n", f"{SOURCES.format(host=company.host)}\n[tool.ruff]\n"))
    variables = company.variables()
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    over_ssh = f"git+ssh://root@{company.host}/srv/git/by-ssh.git"
    over_https = f"git+https://{company.host}/git/by-https.git"
    for package in ("--source team-a alpha-sauce", over_https, over_ssh):
        assert day.make("add", f"PKG={package}").returncode != 0, "it requires a password or a key"
    output = "".join(
        day.check_make("add", f"PKG={package}", **variables)
        for package in ("--source team-a alpha-sauce", "--source team-b beta-sauce", f"{over_https} {over_ssh}")
    )
    output += day.check_make("build", **variables) + day.check_make("up", **variables)
    modules = ("alpha_sauce", "beta_sauce", "by_https", "by_ssh")
    for docker in (("run", "--rm", day.name), ("exec", day.container())):
        assert imports(docker, *modules) == dict.fromkeys(modules, True)
    assert get(day.port, "/health").status == 200

    # pip, in the stage that has it, trusts the system store too.
    options = ("--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--dest=/tmp/wheels")
    index = f"--index-url=https://user:{PASSWORDS['team-a']}@{company.host}/team-a/simple/"
    pip = ("--rm", "--entrypoint=pip", f"{day.name}-poetry", "download", *options, index, "alpha-sauce")
    check_run("docker", "run", *pip, cwd=ROOT)

    history = "".join(
        check_run("docker", "history", "--no-trunc", image, cwd=ROOT)
        for image in (day.name, f"{day.name}-app", f"{day.name}-poetry")
    )
    lock = (day.folder / "poetry.lock").read_text() + (day.folder / "pyproject.toml").read_text()
    for password in PASSWORDS.values():
        assert password not in output + history + lock
        assert not is_in_layers(day.name, password)
    assert not re.search(r"ssh-agent|known_hosts\S+ssh-", history)
    # The next build finds everything in its cache, so it needs no secret.
    day.check_make("build")
