"""The site of the documentation: it builds, and its pages work in a browser, with the keyboard and on paper."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

from tests.support.commands import ROOT, check_run
from tests.support.npm import installed_packages

FOLDER = Path(__file__).parent
WORKSHOP = ROOT / "template" / "{% if include_workshop %}workshop{% endif %}"
# The findings of tests/site/visit.mjs, by page and kind.
Visits = dict[str, dict[str, Any]]
# Programs that Playwright can control.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without logging requests."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    check_run("mkdocs", "build", "--strict", "--site-dir", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Serve the site, and return its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def visits(site: Path, address: str) -> Visits:
    """Return the findings of a browser on each page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        pytest.skip(f"no browser is installed: the test needs one of {', '.join(BROWSERS)}")
    pages = sorted(str(page.relative_to(site)) for page in site.rglob("*.html"))
    with installed_packages(FOLDER / "package.json") as modules:
        playwright = modules / "playwright-core" / "index.mjs"
        output = check_run("node", FOLDER / "visit.mjs", playwright, browser, address, *pages, cwd=ROOT)
    visits: Visits = json.loads(output)
    assert set(visits) == set(pages)
    return visits


def found(visits: Visits, kind: str) -> dict[str, list[str]]:
    """Return the findings of a kind, by page, without the pages that have none."""
    return {page: visit[kind] for page, visit in visits.items() if visit.get(kind)}


def test_site_has_every_page(site: Path) -> None:
    documents = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    lessons = ["workshop" / page.relative_to(WORKSHOP) for page in WORKSHOP.rglob("*.md*")]
    pages = [page for page in [*documents, *lessons] if page.parts[0] != "benchmarks"]
    names = {page.with_name(page.name.split(".")[0].replace("README", "index") + ".html") for page in pages}
    assert names - {page.relative_to(site) for page in site.rglob("*.html")} == set()


@pytest.mark.slow
def test_pages_load_without_errors(visits: Visits) -> None:
    assert found(visits, "errors") == {}


@pytest.mark.slow
def test_pages_request_nothing_from_other_hosts(visits: Visits, address: str) -> None:
    requests = {url for visit in visits.values() for url in visit["requests"]}
    assert {url for url in requests if not url.startswith(address)} == set()


@pytest.mark.slow
def test_links_lead_to_files_and_anchors(visits: Visits, site: Path, address: str) -> None:
    dead = set()
    for page, visit in visits.items():
        for link in visit["links"]:
            url, anchor = urldefrag(link)
            if url.startswith(address):
                target = unquote(url.removeprefix(address)) or "index.html"
                anchors = visits[target]["anchors"] if target in visits else []
                if not (site / target).is_file() or (anchor and unquote(anchor) not in anchors):
                    dead.add((page, link))
    assert dead == set()


@pytest.mark.slow
def test_pages_have_one_heading_and_described_images(visits: Visits) -> None:
    assert {page: visit["headings"] for page, visit in visits.items() if len(visit["headings"]) != 1} == {}
    assert found(visits, "undescribed") == {}


@pytest.mark.slow
def test_pages_fit_the_width_of_the_window(visits: Visits) -> None:
    assert [page for page, visit in visits.items() if visit["isWide"]] == []


@pytest.mark.slow
def test_workshop_is_used_with_the_keyboard(visits: Visits) -> None:
    assert found(visits, "folded") == {}
    assert found(visits, "unreached") == {}


@pytest.mark.slow
def test_workshop_is_printed_without_navigation_and_with_solutions(visits: Visits) -> None:
    assert found(visits, "misprinted") == {}
