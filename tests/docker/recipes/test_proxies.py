"""Two replicas of the service behind nginx or Caddy, as the recipes say: headers, connections, prefix and stops."""

import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

import pytest

from tests.support.commands import ROOT, check_run
from tests.support.docker import count_outcome
from tests.support.recipes import RecipeProject, edited, read
from tests.support.trial import put_on_trial
from tools.questionnaire import base_image

pytestmark = pytest.mark.slow

# Headers that a client may send to fake another address, scheme or host.
SPOOFED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=6.6.6.6;proto=http;host=evil.example",
    "X-Real-IP": "6.6.6.6",
}
CONFIGURATIONS = {"nginx": "docker/nginx.conf", "caddy": "docker/Caddyfile"}
# Prints the client's address as a service sees it that gets a request with a fake header, and the own address.
ASK_DIRECTLY = """
import json, socket, sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"X-Forwarded-For": "6.6.6.6"})
print(json.load(urllib.request.urlopen(request, timeout=5))["client"], socket.gethostbyname(socket.gethostname()))
"""
# Prints the number of connections of port 8000, in any state, that were opened from another container.
COUNT = """
import pathlib
lines = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
print(sum(line[1].endswith(":1F40") and line[3] != "0A" and not line[2].startswith("0100007F") for line in lines))
"""


def context() -> ssl.SSLContext:
    """Return the TLS settings of a client that accepts the certificate of the recipe."""
    return ssl._create_unverified_context()  # noqa: S323


@contextmanager
def connected(port: int) -> Iterator[http.client.HTTPSConnection]:
    """Yield a connection to the proxy, with the name that the certificate has."""
    with closing(http.client.HTTPSConnection("localhost", port, timeout=30, context=context())) as connection:
        yield connection


def ask(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str, str | None]:
    """Return the status, the text and the header `Location` of a response through the proxy."""
    with connected(port) as connection:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers["Location"]


class Clients:
    """Clients that send GET requests through the proxy, each on its connection, until they are stopped.

    Attributes:
        outcomes: The number of responses with each status, and of errors of each class.
    """

    def __init__(self, port: int, count: int = 8) -> None:
        """Start the clients."""
        self.outcomes: Counter[str] = Counter()
        self._port = port
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Counter[str]:
        """Stop the clients, and return the outcomes."""
        self._done.set()
        for thread in self._threads:
            thread.join(timeout=60)
        return self.outcomes

    def _send(self) -> None:
        with connected(self._port) as connection:
            while not self._done.wait(0.02):
                count_outcome(connection, "/who", self.outcomes)


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
@pytest.mark.parametrize("page", CONFIGURATIONS)
def test_replicas_behind_a_proxy(page: str, framework: str, new_project: Callable[[str, str], RecipeProject]) -> None:
    project = new_project(page, framework)
    put_on_trial(project.folder, framework)
    project.follow()
    check_headers(project)
    check_connections(project)
    check_slow_client(project)
    check_replacement(project)
    check_prefix(project, page)


def replicas(project: RecipeProject) -> list[str]:
    """Return the containers of the service."""
    return project.run("docker", "compose", "ps", "--quiet", "production").split()


def check_headers(project: RecipeProject) -> None:
    """Check the client's address, the scheme and the host that the service sees, and that a client cannot fake them."""
    who = json.loads(ask(project.port, "/who")[1])
    assert who["url"] == f"https://localhost:{project.port}/who"
    spoofed = json.loads(ask(project.port, "/who", SPOOFED)[1])
    assert {**spoofed, "pid": ""} == {**who, "pid": ""}
    assert ask(project.port, "/redirect")[2] == who["url"]
    # A client in the network of the proxy: the service sees its own address. Another container is not trusted.
    network = f"{project.folder.name}_default"
    options = ("run", "--rm", f"--network={network}", base_image(), "python", "-c", ASK_DIRECTLY)
    seen, own = check_run("docker", *options, "http://production:8000/who", cwd=ROOT).split()
    assert seen == own


def check_connections(project: RecipeProject) -> None:
    """Check that the proxy sends many requests on few connections."""
    for _ in range(60):
        assert ask(project.port, "/who")[0] == 200
    counts = [int(check_run("docker", "exec", one, "python", "-c", COUNT, cwd=ROOT)) for one in replicas(project)]
    assert 0 < sum(counts) < 20, counts


def check_slow_client(project: RecipeProject) -> None:
    """Check that the proxy closes a connection whose headers do not end."""
    start = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", project.port), timeout=40) as plain,
        context().wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        client.settimeout(1)
        while time.monotonic() - start < 40:
            try:
                if not client.recv(1024):
                    break
            except TimeoutError:
                client.sendall(b"a")
            except OSError:
                break
    seconds = time.monotonic() - start
    assert 5 < seconds < 20


def check_replacement(project: RecipeProject) -> None:
    """Check that the commands of the page replace all replicas, and that nearly every request succeeds meanwhile."""
    before = replicas(project)
    (commands,) = (
        block.text
        for block in read(project.page)
        if block.language == "sh" and "Deploy without downtime" in block.headings
    )
    clients = Clients(project.port)
    project.run("bash", "-euc", commands)
    time.sleep(3)
    outcomes = clients.stop()
    assert not {*before} & {*replicas(project)}
    # nginx lost 2 of 24,700 requests in the tests of the page, and Caddy none.
    accepted = outcomes.total() / 500 if project.page == "nginx" else 0
    lost = outcomes.total() - outcomes["200"]
    assert lost <= accepted, f"{outcomes}\n{project.run('docker', 'compose', 'logs', 'proxy')}"


def check_prefix(project: RecipeProject, page: str) -> None:
    """Check that the service works below a prefix, as the page describes."""
    configuration = project.folder / CONFIGURATIONS[page]
    (location,) = (block.text for block in read(page) if block.language == "diff" and not block.file)
    configuration.write_text(edited(configuration.read_text(), location))
    (project.folder / ".env").write_text("ROOT_PATH=/shop\n")
    project.run("docker", "compose", "up", "--detach", "--wait", "--force-recreate", "proxy", "production")
    status, text, _ = ask(project.port, "/shop/who")
    assert (status, json.loads(text)["url"]) == (200, f"https://localhost:{project.port}/shop/who")
    assert ask(project.port, "/shop/redirect")[2] == f"https://localhost:{project.port}/shop/who"
    if project.framework == "fastapi":
        assert re.search("url: '/shop/openapi.json'", ask(project.port, "/shop/docs")[1])
        assert "/who" in json.loads(ask(project.port, "/shop/openapi.json")[1])["paths"]
    assert "my-service" not in ask(project.port, "/")[1]
