"""The hardened production container: any user, a read-only file system, no network, and no secrets in the image."""

import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import HARDENED, PROCESS_IDS, REPOSITORY, Image, container, inspect, is_in_layers
from tests.support.matrix import CONTAINER_STACKS, in_every_run
from tests.support.projects import Render
from tools.questionnaire import base_image, versions

IDS = [(1000, 1000), (501, 20), (33, 33), (65534, 65534), (197609, 197121), (1001, 100)]
ASK = (
    "import json, urllib.request; "
    "print(json.load(urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5))['status'])"
)


def check_locked_down(runs: list[tuple[str, int, int, list[str]]]) -> None:
    """Check that images serve without a network, capabilities or a writable file system, as the given user.

    Args:
        runs: Image, user ID, group ID and more options of `docker run` for each container. All run at the same time.
    """
    with ExitStack() as stack:
        services = [
            stack.enter_context(container(image, *HARDENED, "--network=none", "--env=WEB_CONCURRENCY=1", *options))
            for image, _, _, options in runs
        ]
        for service, (_, uid, gid, _) in zip(services, runs, strict=True):
            assert service.health() == "healthy", service.logs()
            assert service.execute("python", "-c", ASK) == "ok"
            assert service.execute("python", "-c", PROCESS_IDS) == f"[('{uid}', '{gid}')]"
            assert service.stop()[0] == 0
            assert "Traceback" not in service.logs()


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_any_user_at_run_time(framework: str, server: str, image: Image) -> None:
    name = image(framework=framework, server=server)
    check_locked_down([(name, uid, gid, [f"--user={uid}:{gid}"]) for uid, gid in IDS])


@pytest.mark.slow
def test_any_user_of_the_questionnaire(image: Image) -> None:
    names = [image(user_uid=uid, user_gid=gid) for uid, gid in IDS]
    assert [inspect("image", name)["Config"]["User"] for name in names] == [f"{uid}:{gid}" for uid, gid in IDS]
    check_locked_down([(name, uid, gid, []) for name, (uid, gid) in zip(names, IDS, strict=True)])


@pytest.mark.parametrize(("uid", "gid"), in_every_run(IDS[1:3], IDS))
def test_any_user_in_development(uid: int, gid: int, image: Image) -> None:
    name = image(target="development", user_uid=uid, user_gid=gid)
    assert inspect("image", name)["Config"]["User"] == f"{uid}:{gid}"
    with container(name, command=("python", "-m", "http.server", "8000")) as service:
        assert service.get("/").status == 200
        assert service.execute("python", "-c", PROCESS_IDS) == f"[('{uid}', '{gid}')]"


# Lists every writable file, including those in mounts and excluding those of the kernel.
WRITABLE = (
    "(find / \\( -path /proc -o -path /sys -o -path /dev \\) -prune -o ! -type l -writable -print;"
    " find /dev -type d -writable) 2>/dev/null"
)


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_only_temporary_directories_are_writable(framework: str, server: str, image: Image) -> None:
    name = image(framework=framework, server=server)
    with container(name, *HARDENED, "--tmpfs=/tmp") as service:
        service.get("/health")
        found = run("docker", "exec", service.id, "sh", "-c", WRITABLE, cwd=ROOT).stdout.split()
        assert set(found) <= {"/tmp", "/dev/shm", "/dev/mqueue"}, found
        changes = check_run("docker", "diff", service.id, cwd=ROOT)
        assert changes == "", changes


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_image_adds_no_setuid_file(framework: str, server: str, image: Image) -> None:
    def privileged(name: str) -> set[str]:
        command = (
            "run",
            "--rm",
            "--user=0",
            "--entrypoint=find",
            name,
            "/",
            "-xdev",
            "-perm",
            "/6000",
            "!",
            "-type",
            "d",
        )
        return set(check_run("docker", *command, cwd=ROOT).split())

    base = privileged(base_image())
    assert base, "the base image has none, so this test checks nothing"
    assert privileged(image(framework=framework, server=server)) <= base


PASSWORD = "correct-horse-battery"  # noqa: S105 # of an index that exists only in a test


class Index(SimpleHTTPRequestHandler):
    """A package index with a password: the simple repository API for a folder with one folder for each project.

    Attributes:
        clients: The names of the programs that have sent the password.
    """

    clients: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        """Respond to clients that send the password."""
        expected = "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") == expected:
            self.clients.add(self.headers["User-Agent"].split("/")[0])
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def private_index(folder: Path) -> Iterator[str]:
    """Serve a folder of projects on loopback, and yield the address of the index."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Index, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def wheels(image: Image, tmp_path: Path) -> Path:
    """Return a folder with all files that a build of the default project downloads, in the layout of an index."""
    folder = tmp_path / "index"
    folder.mkdir()
    fetch = (
        "for what in uv==$UV_VERSION '-r /requirements/main.txt' '-r /requirements/build.txt'; do"
        " pip download --quiet --no-deps --dest=/out $what; done;"
        f" chown -R {os.getuid()}:{os.getgid()} /out"
    )
    options = (f"--env=UV_VERSION={versions()['uv']}", f"--volume={folder}:/out")
    check_run("docker", "run", "--rm", *options, image(target="requirements"), "sh", "-ec", fetch, cwd=ROOT)
    for file in list(folder.iterdir()):
        project = folder / file.name.split("-")[0].replace("_", "-").lower()
        project.mkdir(exist_ok=True)
        file.rename(project / file.name)
    return folder


def write_secrets(folder: Path, address: str, password: str, is_in_address: bool) -> list[str]:
    """Write the files that give a build access to an index, and return the options of `docker build` for them.

    Args:
        folder: Where to write the files.
        address: The address of the index.
        password: The password of the index.
        is_in_address: Whether the password is in the address of the index, and not in the netrc.
    """
    with_password = address.replace("//", f"//user:{password}@") if is_in_address else address
    folder.mkdir()
    (folder / "pip.conf").write_text(f"[global]\nindex-url = {with_password}\n")
    (folder / "uv.toml").write_text(f'[[index]]\nurl = "{with_password}"\ndefault = true\n')
    if not is_in_address:
        (folder / "netrc").write_text(f"machine 127.0.0.1 login user password {password}\n")
    return [f"--secret=id={file.name},src={file}" for file in folder.iterdir()]


@pytest.mark.parametrize("is_in_address", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["netrc", "address"])
def test_secrets_of_an_index_stay_out_of_the_image(
    is_in_address: bool, wheels: Path, render: Render, tmp_path: Path
) -> None:
    tag = f"{REPOSITORY}:private"
    Index.clients.clear()
    with private_index(wheels) as address:
        command = ["docker", "build", "--network=host", "--no-cache", "--progress=plain", f"--tag={tag}", "."]
        command += [f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={time.time_ns()}"]
        wrong = run(*command, *write_secrets(tmp_path / "wrong", address, "no", is_in_address), cwd=render())
        assert wrong.returncode != 0, "the build does not use the index"
        built = run(*command, *write_secrets(tmp_path / "right", address, PASSWORD, is_in_address), cwd=render())
        assert built.returncode == 0, built.stdout
    assert Index.clients == {"pip", "uv"}
    assert PASSWORD not in built.stdout
    assert PASSWORD not in check_run("docker", "history", "--no-trunc", tag, cwd=ROOT)
    assert PASSWORD not in json.dumps(inspect("image", tag))
    assert not is_in_layers(tag, PASSWORD)
    with container(tag) as service:
        assert service.get("/health").status == 200
