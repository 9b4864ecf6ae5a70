"""The service behind nginx with TLS, and clients that send the headers of a proxy."""

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import REPOSITORY, Image, ask, build_server, container
from tests.support.matrix import CONTAINER_STACKS
from tests.support.nginx import NGINX
from tests.support.servers import INSTALL
from tests.support.template import STACKS, TRUSTING

NETWORK, PROXY = "10.213.77.0/24", "10.213.77.10"
DOCKERFILE = f"""{INSTALL}nginx-light ssl-cert
COPY nginx.conf /etc/nginx/nginx.conf
CMD ["nginx", "-g", "daemon off;"]
"""


# Headers that a client may send to fake another address, scheme or host.
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
class ProxiedResponse:
    """A response through nginx: the request as the service sees it, and the client's address as nginx sees it."""

    who: dict[str, str]
    location: str | None
    seen: str
    request_id: str


@dataclass
class Proxied:
    """The ports of a service and of the nginx in front of it."""

    service_port: int
    port: int

    def ask(self, path: str = "/who", headers: Mapping[str, str] | None = None) -> ProxiedResponse:
        """Send a request through nginx."""
        context = ssl._create_unverified_context()  # noqa: S323 # a certificate of Debian for tests
        with closing(http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)) as connection:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            text = response.read().decode()
        who = json.loads(text) if response.status == 200 else {}
        got = response.headers
        return ProxiedResponse(who, got["Location"], got["X-Seen"], got["X-Request-ID"])


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of an image of nginx from Debian's packages."""
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "nginx.conf").write_text(NGINX)
    return build_server(folder, "nginx", DOCKERFILE)


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    """Return the name of a network for nginx and the services."""
    name = f"{REPOSITORY}-proxy"
    run("docker", "network", "rm", name, cwd=ROOT)
    check_run("docker", "network", "create", f"--subnet={NETWORK}", name, cwd=ROOT)
    yield name
    check_run("docker", "network", "rm", name, cwd=ROOT)


@contextmanager
def behind_nginx(image: str, nginx: str, network: str, *options: str) -> Iterator[Proxied]:
    """Run an image as `service` with nginx in front of it."""
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


@pytest.mark.parametrize(("framework", "server"), TRUSTING)
def test_trusted_proxy_sets_client_and_scheme(
    framework: str, server: str, image: Image, nginx: str, network: str
) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    trusted = f"--env=FORWARDED_ALLOW_IPS=192.0.2.1, {PROXY}/32"
    with behind_nginx(name, nginx, network, trusted) as proxied:
        there = f"https://127.0.0.1:{proxied.port}/who"
        response = proxied.ask()
        assert response.who["scheme"] == "https"
        assert response.who["url"] == there
        assert response.who["client"] == response.seen
        assert len(response.request_id) == 32
        assert proxied.ask("/redirect").location == there
        # The proxy appends an address to the header. The service ignores the addresses from the client.
        spoofed = proxied.ask(headers=SPOOFED | {"X-Forwarded-Proto": "http"})
        assert (spoofed.who["client"], spoofed.who["url"]) == (response.seen, there)


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_unknown_proxy_is_ignored(framework: str, server: str, image: Image, nginx: str, network: str) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with behind_nginx(name, nginx, network) as proxied:
        response = proxied.ask()
        assert response.who["scheme"] == "http"
        assert response.who["client"] != response.seen
        assert proxied.ask("/redirect").location == f"http://127.0.0.1:{proxied.port}/who"


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_spoofed_headers_are_ignored(framework: str, server: str, image: Image) -> None:
    with container(image(on_trial=True, framework=framework, server=server)) as service:
        plain = service.get("/who", headers={"Host": "example.com"}).json()
        spoofed = service.get("/who", headers=SPOOFED | {"Host": "example.com"}).json()
        assert {**plain, "pid": ""} == {**spoofed, "pid": ""}
        assert plain["url"] == "http://example.com/who"


# Headers of the proxy, and those of a client. WSGI has the same name for both.
OF_PROXY = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Request-ID": "from-the-proxy"}
FAKED = {"X_Forwarded_For": "6.6.6.6", "X_Forwarded_Proto": "ftp", "X_Request_ID": "faked"}


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_names_with_underscores_are_not_trusted(framework: str, server: str, image: Image) -> None:
    name, is_trusting = image(on_trial=True, framework=framework, server=server), (framework, server) in TRUSTING
    with container(name, *(["--env=FORWARDED_ALLOW_IPS=172.16.0.0/12"] if is_trusting else [])) as service:
        seen = []
        # If a server does not tell them apart, it keeps the first or the last.
        for headers in (FAKED, {**OF_PROXY, **FAKED}, {**FAKED, **OF_PROXY}):
            response = service.get("/who", headers=headers)
            who, identifier = response.json(), response.headers["x-request-id"]
            seen.append((who["client"], who["scheme"], identifier if len(identifier) < 32 else "new"))
    assert seen[0][1:] == ("http", "new")
    assert seen[0][0] != "6.6.6.6"
    assert seen[1:] == [("203.0.113.9", "https", "from-the-proxy") if is_trusting else seen[0]] * 2


def test_flask_on_granian_refuses_to_trust_a_proxy(image: Image) -> None:
    name = image(on_trial=True, framework="flask", server="granian")
    with container(name, "--env=FORWARDED_ALLOW_IPS=10.0.0.0/8") as service:
        assert service.wait(seconds=15) == 1
        line = "FORWARDED_ALLOW_IPS is invalid: Value error, Flask on Granian trusts no proxy, see docs/deploy.md."
        assert service.logs().splitlines() == [line]


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_prefix_may_be_removed_or_kept_by_the_proxy(framework: str, server: str, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    host = {"Host": "example.com"}
    with container(name, "--env=ROOT_PATH=/shop") as service:
        assert service.health() == "healthy", service.logs()
        for path in ("/shop/who", "/who"):
            assert service.get(path, headers=host).json()["url"] == "http://example.com/shop/who"
        for path in ("/shop/redirect", "/redirect"):
            assert ask(service.port, path, headers=host).headers["location"] == "http://example.com/shop/who"
        assert service.get("/shopping/who").status == 404, "the prefix matches only whole segments"
        assert [service.get(path).status for path in ("/shop/", "/")] == [200, 200]
        if framework == "fastapi":
            for path in ("/shop/docs", "/docs"):
                assert "'/shop/openapi.json'" in service.get(path).text
            for path in ("/shop/who/", "/who/"):  # without the last slash
                assert ask(service.port, path, headers=host).headers["location"] == "http://example.com/shop/who"
        assert "/health" not in service.logs()


# The prefix as an option of the server itself.
OPTIONS = {"uvicorn": "UVICORN_ROOT_PATH", "gunicorn": "SCRIPT_NAME", "granian": "GRANIAN_URL_PATH_PREFIX"}


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_health_check_follows_the_prefix_of_the_server(framework: str, server: str, image: Image) -> None:
    with container(image(framework=framework, server=server), f"--env={OPTIONS[server]}=/shop") as service:
        assert service.health() == "healthy", service.logs()


@pytest.mark.parametrize("prefix", ["shop", "/shop/", "//", "/"])
def test_prefix_that_cannot_be_used_is_refused(prefix: str, image: Image) -> None:
    name = image(on_trial=True, framework="fastapi", server="uvicorn")
    result = run("docker", "run", "--rm", f"--env=ROOT_PATH={prefix}", name, cwd=ROOT)
    assert (result.returncode, result.stdout.count("\n")) == (1, 1), result.stdout
    assert result.stdout.startswith("ROOT_PATH is invalid: ")


# FORWARDED_ALLOW_IPS and X-Forwarded-For. The last address that is not a trusted proxy is the client's.
PRIVATE = "172.16.0.0/12,10.0.0.0/8, 192.168.0.0/16"
CHAINS = {
    "private-networks": (PRIVATE, "6.6.6.6, 203.0.113.9"),
    "two-proxies": (PRIVATE, "6.6.6.6, 203.0.113.9, 10.1.2.3"),
    "anyone": ("*", "203.0.113.9"),
}


@pytest.mark.parametrize(("trusted", "addresses"), CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize(("framework", "server"), TRUSTING)
def test_client_is_the_last_untrusted_address(
    framework: str, server: str, trusted: str, addresses: str, image: Image
) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, f"--env=FORWARDED_ALLOW_IPS={trusted}") as service:
        who = service.get("/who", headers={"X-Forwarded-For": addresses, "X-Forwarded-Proto": "https"}).json()
    # ProxyFix takes the last address, trusted or not: see docs/deploy.md of the project.
    client = addresses.split(", ")[-1] if server == "gunicorn" else "203.0.113.9"
    assert (who["client"], who["scheme"]) == (client, "https")
