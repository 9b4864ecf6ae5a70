"""A package index for builds without the internet, and the packages that some lessons need.

    python index.py serve ADDRESS PORT FOLDER...
    python index.py invent PACKAGES REQUIREMENTS TOMORROW PRIVATE

`serve` offers the files in the folders at /simple/, and those in /private at /private/simple/ to
the user `learner` with the password in INDEX_PASSWORD. It logs each request.

`invent` writes wheels: to TOMORROW a release of Poetry that does not work and a release of a locked
package, and to PRIVATE a package that no other index has.

Source: https://packaging.python.org/en/latest/specifications/simple-repository-api/
"""

import base64
import hashlib
import os
import re
import sys
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PRIVATE = Path("/private")
BROKEN = "def main():\n    raise SystemExit('This release of Poetry no longer has this command.')\n"
GREETING = "print('Greetings from the private index')\n"


def normalized(name: str) -> str:
    """Return the name of a package as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Index(SimpleHTTPRequestHandler):
    """Responds with the page of a package, or with a file."""

    folders: tuple[Path, ...] = ()

    def do_GET(self) -> None:
        """Respond to a request for /simple/NAME/ or /files/NAME, below /private with a password."""
        path, folders = self.path, self.folders
        if path.startswith("/private/"):
            path, folders = path.removeprefix("/private"), (PRIVATE,)
            user = f"learner:{os.environ.get('INDEX_PASSWORD', '')}"
            expected = f"Basic {base64.b64encode(user.encode()).decode()}"
            if self.headers["Authorization"] != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="private"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        files = [file for folder in folders for file in sorted(folder.iterdir())]
        kind, _, name = path.strip("/").partition("/")
        body = b""
        if kind == "simple":
            body = page([file for file in files if normalized(file.name.split("-")[0]) == name])
        elif kind == "files":
            body = next((file.read_bytes() for file in files if file.name == name), b"")
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/html" if kind == "simple" else "application/zip")
        self.send_header("Content-Length", str(len(body)))
        if kind == "files" and body:
            self.send_header("Cache-Control", "max-age=365000000, immutable")  # as PyPI does
        self.end_headers()
        self.wfile.write(body)


def page(files: list[Path]) -> bytes:
    """Return the page of a package, which links to its files, or nothing if there is none."""
    links = []
    for file in files:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        links.append(f'<a href="../../files/{file.name}#sha256={digest}">{file.name}</a><br>')
    return f"<!DOCTYPE html>\n{''.join(links)}\n".encode() if links else b""


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    """Write a wheel with a module or more, and its metadata. Each time, it is the same file."""
    metadata = f"{name}-{version}.dist-info"
    content = files | {
        f"{metadata}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{metadata}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{metadata}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in content.items():
            wheel.writestr(zipfile.ZipInfo(path), text)


def next_release(version: str) -> str:
    """Return the version of the next release of a package that has this version."""
    return ".".join([*re.findall(r"\d+", version)[:2], "999"])


def write_next_release(folder: Path, locked: Path) -> None:
    """Write a release that follows a locked wheel. Only its version is different."""
    name, version, tags = locked.name.split("-", 2)
    following = next_release(version)
    old, new = f"{name}-{version}.dist-info/", f"{name}-{following}.dist-info/"
    with (
        zipfile.ZipFile(locked) as source,
        zipfile.ZipFile(folder / f"{name}-{following}-{tags}", "w") as wheel,
    ):
        for item in source.infolist():
            content = source.read(item)
            if item.filename == f"{old}METADATA":
                content = content.replace(
                    f"\nVersion: {version}".encode(), f"\nVersion: {following}".encode(), 1
                )
            elif item.filename == f"{old}RECORD":
                content = b""
            wheel.writestr(zipfile.ZipInfo(item.filename.replace(old, new)), content)


def invent(packages: Path, requirements: Path, tomorrow: Path, private: Path) -> None:
    """Write the packages that no public index has. See the top of this file."""
    tomorrow.mkdir()
    poetry = next_release(next(packages.glob("poetry-*.whl")).name.split("-")[1])
    script = "[console_scripts]\npoetry = broken_poetry:main\n"
    entry = {f"poetry-{poetry}.dist-info/entry_points.txt": script}
    write_wheel(tomorrow, "poetry", poetry, {"broken_poetry.py": BROKEN} | entry)
    names = re.findall(r"^([\w.-]+)==", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    pure = sorted(packages.glob("*-py3-none-any.whl"))
    write_next_release(
        tomorrow, next(file for file in pure if normalized(file.name.split("-")[0]) in names)
    )
    private.mkdir()
    write_wheel(private, "acme_greeting", "1.0", {"acme_greeting.py": GREETING})


if __name__ == "__main__":
    if sys.argv[1] == "invent":
        invent(*map(Path, sys.argv[2:]))
    else:
        address, port, *folders = sys.argv[2:]
        Index.folders = tuple(map(Path, folders))
        ThreadingHTTPServer((address, int(port)), Index).serve_forever()
