"""The service behind nginx that ends TLS, and face to face with clients that claim to be a proxy."""

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pytest

from scripts.questionnaire import base_image
from tests.commands import ROOT, check_run, run
from tests.conftest import STACKS, Image
from tests.docker import REPOSITORY, build, container

pytestmark = pytest.mark.docker

NETWORK, PROXY = "10.213.77.0/24", "10.213.77.10"
DOCKERFILE = f"""
FROM {base_image()}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends nginx-light ssl-cert
COPY nginx.conf /etc/nginx/nginx.conf
CMD ["nginx", "-g", "daemon off;"]
"""
# As README shows it, with the address that nginx saw in a header of the answer.
NGINX = """
events {}
http {
    access_log off;
    server {
        listen 8443 ssl;
        ssl_certificate /etc/ssl/certs/ssl-cert-snakeoil.pem;
        ssl_certificate_key /etc/ssl/private/ssl-cert-snakeoil.key;
        location / {
            proxy_pass http://service:8000;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-ID $request_id;
            add_header X-Seen $remote_addr always;
        }
    }
}
"""


# What a client may claim to be.
SPOOFED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=6.6.6.6;proto=https;host=evil.example",
    "X-Forwarded-Ssl": "on",
    "X-Real-IP": "6.6.6.6",
    "Script-Name": "/evil",
}


@dataclass
class Answer:
    """What came back through the proxy: the service's view of the request, and what nginx saw."""

    who: dict[str, str]
    location: str | None
    seen: str
    request_id: str


@dataclass
class Proxied:
    """A service and the port of the nginx before it."""

    service_port: int
    port: int

    def ask(self, path: str = "/who", headers: Mapping[str, str] | None = None) -> Answer:
        """Ask through nginx."""
        context = ssl._create_unverified_context()  # noqa: S323 # the certificate is Debian's for trials
        with closing(http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)) as connection:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            text = answer.read().decode()
        who = json.loads(text) if answer.status == 200 else {}
        return Answer(who, answer.headers["Location"], answer.headers["X-Seen"], answer.headers["X-Request-ID"])


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of an image of nginx from Debian's packages."""
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "nginx.conf").write_text(NGINX)
    result = build(folder, f"{REPOSITORY}:nginx")
    assert result.returncode == 0, result.stdout
    return f"{REPOSITORY}:nginx"


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    """Return the name of a network for nginx and the services."""
    name = "template-test-proxy"
    run("docker", "network", "rm", name, cwd=ROOT)
    check_run("docker", "network", "create", f"--subnet={NETWORK}", name, cwd=ROOT)
    yield name
    check_run("docker", "network", "rm", name, cwd=ROOT)


@contextmanager
def behind_nginx(image: str, nginx: str, network: str, *options: str) -> Iterator[Proxied]:
    """Run an image as `service` with nginx before it."""
    joined = f"--network={network}"
    with (
        container(image, joined, "--network-alias=service", *options) as service,
        container(nginx, joined, f"--ip={PROXY}", port=8443) as proxy,
    ):
        service.get("/health")
        for _ in range(50):
            try:
                Proxied(service.port, proxy.port).ask()
                break
            except (OSError, http.client.HTTPException):
                continue
        yield Proxied(service.port, proxy.port)


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_trusted_proxy_is_believed(framework: str, server: str, image: Image, nginx: str, network: str) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    trusted = f"--env=FORWARDED_ALLOW_IPS=192.0.2.1, {PROXY}/32"
    with behind_nginx(name, nginx, network, trusted) as proxied:
        there = f"https://127.0.0.1:{proxied.port}/who"
        answer = proxied.ask()
        assert answer.who["scheme"] == "https"
        assert answer.who["url"] == there
        assert answer.who["client"] == answer.seen
        assert len(answer.request_id) == 32
        assert proxied.ask("/redirect").location == there
        # What a client claims itself stands left of what the proxy adds, and counts for nothing.
        claimed = proxied.ask(headers=SPOOFED | {"X-Forwarded-Proto": "http"})
        assert (claimed.who["client"], claimed.who["url"]) == (answer.seen, there)


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_unknown_proxy_is_not_believed(framework: str, server: str, image: Image, nginx: str, network: str) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with behind_nginx(name, nginx, network) as proxied:
        answer = proxied.ask()
        assert answer.who["scheme"] == "http"
        assert answer.who["client"] != answer.seen
        assert proxied.ask("/redirect").location == f"http://127.0.0.1:{proxied.port}/who"


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_spoofed_headers_are_ignored(framework: str, server: str, image: Image) -> None:
    with container(image(on_trial=True, framework=framework, server=server)) as service:
        plain = service.get("/who", headers={"Host": "example.com"}).json()
        spoofed = service.get("/who", headers=SPOOFED | {"Host": "example.com"}).json()
        assert {**plain, "pid": ""} == {**spoofed, "pid": ""}
        assert plain["url"] == "http://example.com/who"


# Whom the service believes, and which of the hops is the client then: the one that no trusted proxy comes after.
PRIVATE = "172.16.0.0/12,10.0.0.0/8, 192.168.0.0/16"
CHAINS = {
    "private-networks": (PRIVATE, "0.0.0.0", "6.6.6.6, 203.0.113.9, 10.1.2.3"),  # noqa: S104
    "through-ipv6": (PRIVATE, "::", "203.0.113.9"),
    "anyone": ("*", "0.0.0.0", "203.0.113.9"),  # noqa: S104
}


@pytest.mark.parametrize(("trusted", "host", "hops"), CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_hops_lead_to_the_client(framework: str, server: str, trusted: str, host: str, hops: str, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, f"--env=FORWARDED_ALLOW_IPS={trusted}", f"--env=HOST={host}") as service:
        who = service.get("/who", headers={"X-Forwarded-For": hops, "X-Forwarded-Proto": "https"}).json()
        assert (who["client"], who["scheme"]) == ("203.0.113.9", "https")


def test_readme_shows_the_settings_that_are_tested() -> None:
    readme = (ROOT / "template" / "README.md.jinja").read_text()
    for line in NGINX.splitlines():
        if "proxy_set_header" in line:
            assert line.strip() in readme, line
