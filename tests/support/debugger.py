"""A minimal debugger for tests: it attaches, follows reloaded processes, and stops at a breakpoint.

Source: https://microsoft.github.io/debug-adapter-protocol/specification, and for `debugpyAttach`
https://github.com/microsoft/debugpy/wiki
"""

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Stop(NamedTuple):
    """Where a thread stops: the path of a file on this machine, and a line."""

    path: str
    line: int


class Debugger:
    """Connections to a debug adapter, one for each process that it announces, with the same breakpoint in all."""

    def __init__(self, configuration: Mapping[str, Any], breakpoint_at: Stop) -> None:
        """Attach.

        Args:
            configuration: A configuration of `launch.json` with its variables replaced.
            breakpoint_at: The path of the file on this machine, and the line.

        Raises:
            OSError: No debug adapter listens.
        """
        self._breakpoint = breakpoint_at
        self._configuration = configuration
        self._stopped: queue.Queue[tuple[_Session, Any]] = queue.Queue()
        self._sessions: list[_Session] = []
        self.attach(configuration)

    def attach(self, configuration: Mapping[str, Any]) -> None:
        """Attach to another process."""
        address = (str(self._configuration["connect"]["host"]), int(self._configuration["connect"]["port"]))
        self._sessions.append(_Session(address, configuration, self._breakpoint, self))

    def is_stopped(self, session: "_Session", thread: int) -> None:
        """Record that a thread stopped."""
        self._stopped.put((session, thread))

    def wait(self, seconds: float = 20) -> Stop:
        """Wait until a thread stops at the breakpoint, let it continue, and return where it stopped.

        Raises:
            queue.Empty: No thread stopped in time.
        """
        session, thread = self._stopped.get(timeout=seconds)
        return session.resume(thread, seconds)

    def close(self) -> None:
        """Detach."""
        for session in self._sessions:
            session.close()


class _Session:
    """One connection. A thread reads its messages."""

    def __init__(
        self, address: tuple[str, int], configuration: Mapping[str, Any], breakpoint_at: Stop, debugger: Debugger
    ) -> None:
        self._breakpoint = breakpoint_at
        self._debugger = debugger
        self._count = 0
        self._frames: queue.Queue[Stop] = queue.Queue()
        self._socket = socket.create_connection(address, timeout=60)
        self._stream = self._socket.makefile("rwb")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._request("initialize", adapterID="debugpy", pathFormat="path", linesStartAt1=True, columnsStartAt1=True)
        self._request("attach", **configuration)

    def resume(self, thread: int, seconds: float) -> Stop:
        self._request("stackTrace", threadId=thread, levels=1)
        frame = self._frames.get(timeout=seconds)
        self._request("continue", threadId=thread)
        return frame

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the other side has already closed it
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join(timeout=10)
        self._stream.close()
        self._socket.close()

    def _request(self, command: str, **arguments: object) -> None:
        self._count += 1
        message = {"seq": self._count, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self._stream.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._stream.flush()

    def _read(self) -> None:
        with contextlib.suppress(ConnectionError):  # a process that is replaced resets its connection
            while header := self._stream.readline():
                self._stream.readline()  # the empty line after the only header
                message = json.loads(self._stream.read(int(header.split(b":")[1])))
                self._handle(message.get("event") or message["command"], message.get("body"))

    def _handle(self, name: str, body: Any) -> None:
        if name == "initialized":
            source, line = {"path": self._breakpoint.path}, self._breakpoint.line
            self._request("setBreakpoints", source=source, breakpoints=[{"line": line}])
            self._request("configurationDone")
        elif name == "debugpyAttach":  # a new process
            self._debugger.attach(body)
        elif name == "stopped":
            self._debugger.is_stopped(self, body["threadId"])
        elif name == "stackTrace":
            frame = body["stackFrames"][0]
            self._frames.put(Stop(frame["source"]["path"], frame["line"]))


def configuration(project: Path, port: int) -> dict[str, Any]:
    """Return the only configuration of a project's `launch.json`, as an editor reads it.

    Args:
        project: The folder that the editor opened.
        port: The port to attach to, instead of the one in the file.
    """
    text = (project / ".vscode" / "launch.json").read_text()
    (found,) = json.loads(text.replace("${workspaceFolder}", str(project)))["configurations"]
    found["connect"]["port"] = port
    return dict(found)
