"""The goals of the lessons.

Each is a function that measures an attempt. If the goal is missed, it raises `MissedError` with a
sentence that helps. The first line of its docstring describes the goal.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import threading
import time

import prepare
from attempt import IMAGE, Attempt, MissedError
from copies import SLOW_PATH
from engine import SECONDS_TO_START, Container, container, docker, python, run
from facts import PACKAGE, PORT

HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
# The folders in the caches of pip, Poetry and uv, wherever those caches are.
CACHE = re.compile(
    r"/(?:http(?:-v2)?/(?:[0-9a-f]/){5}|artifacts/(?:[0-9a-f]{2}/){3}|cache/repositories/|archive-v\d+/)"
)
TOOLS = {"poetry", "uv", "pipx"}


def some(names: list[str]) -> str:
    """Return the number of packages and two of their names."""
    return f"{len(names)} package{'s' if len(names) > 1 else ''}, such as {' and '.join(names[:2])}"


def serves(attempt: Attempt) -> None:
    """The image builds, and the service responds."""
    attempt.build_once()
    start = time.monotonic()
    with container(IMAGE) as service:
        while not service.responds(seconds=1):
            if not service.is_running():
                raise MissedError(f"the container stopped: {service.last_log_line()}")
            if _is_on_loopback(service):
                raise MissedError(
                    f"it serves on 127.0.0.1:{PORT}, which nothing outside the container can "
                    "reach. Serve on 0.0.0.0."
                )
            if time.monotonic() - start > SECONDS_TO_START:
                raise MissedError(
                    f"there was no response from port {PORT}: {service.last_log_line()}"
                )
        attempt.figures["start to first response, s"] = time.monotonic() - start


def _is_on_loopback(service: Container) -> bool:
    """Return whether the service listens on the port, and on no address but those of loopback."""
    tables = run("exec", service.id, "cat", "/proc/net/tcp", "/proc/net/tcp6").stdout
    addresses = set(re.findall(rf": (\w+):{PORT:04X} \w+:0000 0A", tables))
    return bool(addresses) and addresses <= {"0100007F", f"{0:024d}01000000"}


# --- what is in the image -------------------------------------------------------------------------


def has_no_development_tools(attempt: Attempt) -> None:
    """Development tools are not in the image."""
    if tools := sorted(
        attempt.packages.keys() & {"debugpy", "mypy", "pre-commit", "pytest", "ruff"}
    ):
        raise MissedError(f"the image has {' and '.join(tools[:2])}. Install only the main group.")


def has_no_cache(attempt: Attempt) -> None:
    """No layer contains a cache of downloads."""
    sizes: dict[str, int] = {}
    for layer in attempt.layers:
        for file in layer.files:
            if found := CACHE.search(f"/{file.name}"):
                place = f"/{file.name}"[: found.start()]
                sizes[place] = sizes.get(place, 0) + file.size
    place = max(sizes, key=lambda name: sizes[name], default="")
    if place and sizes[place] > 10**6:
        raise MissedError(
            f"{sizes[place] / 1e6:.0f} MB of downloads are in {place}. "
            "Remove them in the step that downloads them."
        )


def has_no_build_tools(attempt: Attempt) -> None:
    """Poetry and the other build tools are not in the image."""
    files = [file.name for layer in attempt.layers for file in layer.files]
    programs = {name.rpartition("/")[2] for name in files if "bin/" in name}
    if tools := sorted(TOOLS & (attempt.packages.keys() | programs)):
        raise MissedError(
            f"the image has {' and '.join(tools)}. "
            "Build in one stage, and copy the result to another."
        )


def leaves_out_private_files(attempt: Attempt) -> None:
    """No layer contains .env, .git or .venv of the project."""
    holding = attempt.find(attempt.marker.encode())
    names = sorted({name for path in holding for name in path.split("/") if name.startswith(".")})
    attempt.figures["private files in a layer"] = len(names)
    if names:
        raise MissedError(
            f"a layer contains {', '.join(names)}. "
            "Copy only what the image needs, or list them in Dockerfile.dockerignore."
        )


def has_the_locked_versions(attempt: Attempt) -> None:
    """The image has the locked versions, whatever was released since."""
    present = {
        name: sorted(version for version, _ in found) for name, found in attempt.packages.items()
    }
    different = [
        f"{name} {present[name][0]} instead of {version}"
        for name, version in sorted(attempt.copy.locked().items())
        if name in present and version not in present[name]
    ]
    attempt.figures["versions that are not locked"] = len(different)
    if different:
        raise MissedError(
            f"it has {different[0]}. Without poetry.lock, Poetry takes the newest versions."
        )


# --- what a build does again ----------------------------------------------------------------------


def test_edit_installs_nothing(attempt: Attempt) -> None:
    """An edit of a test installs nothing again."""
    attempt.build_once()
    attempt.copy.edit_test()
    _installs_nothing(
        attempt, "rebuild after an edit of a test, s", "Copy only what the image needs."
    )


def source_edit_installs_nothing(attempt: Attempt) -> None:
    """An edit of the source installs no dependency again, and the service has it."""
    attempt.build_once()
    path = attempt.copy.edit_source()
    advice = "Install the dependencies before you copy the source."
    _installs_nothing(attempt, "rebuild after an edit of the source, s", advice)
    with container(IMAGE) as service:
        if not service.responds() or service.get(path)[0] != http.HTTPStatus.OK:
            raise MissedError("the service runs the source from before the edit.")


def version_bump_installs_nothing(attempt: Attempt) -> None:
    """A new version in pyproject.toml installs no dependency again, and the service has it."""
    attempt.build_once()
    version = attempt.copy.bump_version()
    advice = "Copy only what the installation needs: the locked packages, not pyproject.toml."
    _installs_nothing(attempt, "rebuild after a version bump, s", advice)
    with container(IMAGE) as service:
        if not service.responds() or version not in service.get("/health")[1]:
            raise MissedError(f"/health does not report version {version}.")


def _installs_nothing(attempt: Attempt, figure: str, advice: str) -> None:
    """Build after an edit, and miss the goal if that installs a locked package."""
    before = attempt.packages
    done = attempt.build()
    attempt.figures[figure] = done.seconds
    after = attempt.packages
    # uv keeps the times of the files in its cache, so the log counts too.
    again = {
        name
        for name in attempt.copy.locked()
        if after.get(name) != before.get(name) or name in done.installed()
    }
    attempt.figures["packages installed again"] = len(again)
    if again:
        raise MissedError(f"it installs {some(sorted(again))}. {advice}")


def new_dependency_is_downloaded_alone(attempt: Attempt) -> None:
    """After a new dependency, only that package is downloaded."""
    attempt.build("--no-cache")
    before = len(prepare.downloads())
    attempt.copy.add_dependency()
    attempt.copy.bump_version()
    done = attempt.build()
    files = {
        name
        for name in prepare.downloads()[before:]
        if not name.startswith(("poetry_core", "setuptools"))
    }
    attempt.figures |= {"rebuild with a new dependency, s": done.seconds, "downloads": len(files)}
    if len(files) > 1:
        raise MissedError(
            f"{len(files)} files were downloaded. Keep the downloads in a cache mount."
        )


# --- who runs -------------------------------------------------------------------------------------


def is_not_root(attempt: Attempt) -> None:
    """The process has a numeric user other than root."""
    attempt.build_once()
    user = docker("image", "inspect", "--format={{.Config.User}}", IMAGE)
    if user.partition(":")[0] in ("", "0", "root"):
        raise MissedError("the process runs as root: add a USER.")
    if not user.replace(":", "").isdecimal():
        raise MissedError(f"USER is {user}. Kubernetes can check only a number.")


def files_belong_to_you(attempt: Attempt) -> None:
    """You can delete what the container writes into your folder."""
    attempt.build_once()
    uid, gid = attempt.user
    shared = attempt.copy.folder / "shared"
    shared.mkdir(exist_ok=True)
    os.chown(shared, uid, gid)
    # A file of another user can be deleted from your own folder, but not from a folder of theirs.
    write = "import os; os.mkdir('/shared/reports'); open('/shared/reports/today.txt', 'w').close()"
    python(IMAGE, write, f"--volume={shared}:/shared")
    report = shared / "reports" / "today.txt"
    if not report.exists():
        raise MissedError(
            f"its user cannot write there: it is not yours, {uid}. Use APP_UID and APP_GID."
        )
    owner = report.parent.stat().st_uid
    attempt.figures["files that you cannot delete"] = int(owner != uid)
    if owner != uid:
        raise MissedError(
            f"the new folder belongs to user {owner}, not to you, {uid}. Use APP_UID and APP_GID."
        )


def code_is_not_writable(attempt: Attempt) -> None:
    """The process cannot change its own code."""
    files = {f"/{file.name}" for layer in attempt.layers for file in layer.files}
    code = [file for file in files if file.endswith(f"/{PACKAGE}/app.py")]
    writable = f"[path for file in {code} for path in (file, dirname(file)) if access(path, W_OK)]"
    tell = f"from os import W_OK, access; from os.path import dirname; print({writable})"
    if python(IMAGE, tell).stdout.strip() != "[]":
        raise MissedError("the process can write to its code. Leave the code to root.")


# --- process 1 ------------------------------------------------------------------------------------


class Client(threading.Thread):
    """Sends a request of a second, and remembers whether it was lost."""

    def __init__(self, service: Container) -> None:
        """Prepare the request."""
        super().__init__(daemon=True)
        self.service = service
        self.is_lost = False

    def run(self) -> None:
        """Send the request. It is lost if its response begins and does not end.

        A proxy sends a request that the service has not begun to another container.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=20)
        with (
            contextlib.closing(connection),
            contextlib.suppress(OSError, http.client.HTTPException),
        ):
            connection.request("GET", SLOW_PATH)
            response = connection.getresponse()
            self.is_lost = True
            self.is_lost = not response.read().endswith(b"done")


def stops_cleanly(attempt: Attempt) -> None:
    """The container stops within 5 seconds with exit code 0, and no request is lost."""
    attempt.build_once()
    with container(IMAGE) as service:
        if not service.responds():
            raise MissedError(f"the service does not respond: {service.last_log_line()}")
        clients: list[Client] = []
        is_stopped = threading.Event()

        def send() -> None:
            while not is_stopped.is_set():
                clients.append(Client(service))
                clients[-1].start()
                is_stopped.wait(0.3)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        time.sleep(0.8)
        start = time.monotonic()
        docker("stop", "-t", "5", service.id)
        seconds = time.monotonic() - start
        is_stopped.set()
        for thread in (sender, *clients):
            thread.join(timeout=5)
        code = service.state()["ExitCode"]
    lost = sum(client.is_lost for client in clients)
    attempt.figures |= {"stop, s": seconds, "lost requests": lost}
    if code == 137:
        raise MissedError(
            f"it was killed after {seconds:.0f} s, and {lost} requests were lost. SIGTERM goes to "
            "process 1, a shell: use the form of CMD with brackets, or exec."
        )
    if code or lost:
        raise MissedError(f"the exit code is {code}, and {lost} requests were lost.")


def runs_read_only(attempt: Attempt) -> None:
    """The service runs with a read-only file system and without capabilities."""
    attempt.build_once()
    with container(IMAGE, *HARDENED) as service:
        if not service.responds():
            raise MissedError(f"it does not start: {service.last_log_line()}")


def notices_a_hang(attempt: Attempt) -> None:
    """A health check notices that the service hangs."""
    attempt.build_once()
    options = (
        "--health-interval=1s",
        "--health-timeout=5s",
        "--health-retries=2",
        "--health-start-period=0s",
    )
    if not docker("image", "inspect", "--format={{if .Config.Healthcheck}}yes{{end}}", IMAGE):
        raise MissedError("the image has no HEALTHCHECK.")
    with container(IMAGE, *options) as service:
        if not _becomes(service, "healthy"):
            raise MissedError(f"the container does not become healthy: {_last_probe(service)}")
        run("exec", "--user=0", service.id, "sh", "-c", "kill -STOP -1")
        run("kill", "--signal=STOP", service.id)
        if not _becomes(service, "unhealthy"):
            raise MissedError(
                "the container stays healthy while the service hangs. Let the check send a request."
            )


def _becomes(service: Container, status: str, seconds: float = 30) -> bool:
    """Wait until the health of a container has a status."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        health = service.state().get("Health")
        if isinstance(health, dict) and health["Status"] == status:
            return True
        time.sleep(0.2)
    return False


def _last_probe(service: Container) -> str:
    """Return the last line that the health check printed."""
    health = service.state().get("Health")
    log = health["Log"] if isinstance(health, dict) else []
    return (log[-1]["Output"].strip().splitlines() or [""])[-1] if log else "it has not run."


# --- secrets --------------------------------------------------------------------------------------


def private_package_is_installed(attempt: Attempt) -> None:
    """The package of the private index is installed."""
    if "acme-greeting" not in attempt.packages:
        raise MissedError("the image does not have acme-greeting.")


def password_is_nowhere(attempt: Attempt) -> None:
    """The password is in no layer, not in the history and not in the environment."""
    holding = attempt.find(attempt.password.encode())
    text = docker("history", "--no-trunc", IMAGE) + docker("image", "inspect", IMAGE)
    places = [
        *(f"/{name}" for name in holding),
        *(["the history"] if attempt.password in text else []),
    ]
    attempt.figures["places with the password"] = len(places)
    if places:
        raise MissedError(
            f"it is in {' and '.join(places)}. A later RUN cannot remove it: mount it as a secret."
        )
