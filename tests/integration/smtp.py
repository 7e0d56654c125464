"""SMTP and LMTP as a client speaks them, and the replies of servers."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from typing import BinaryIO, Iterator, NamedTuple, Sequence

HOST = "127.0.0.1"
PATIENCE = 30


class Reply(NamedTuple):
    """A reply: its code, and its text without the code, lines joined by newlines."""

    code: int
    text: str


def read_reply(stream: BinaryIO) -> Reply:
    """The next reply on `stream`, of one line or several. Raises EOFError where it ends."""
    texts = []
    while True:
        line = stream.readline()
        if not line.endswith(b"\n"):
            raise EOFError(f"the server stopped talking: {line!r}")
        texts.append(line[4:].rstrip(b"\r\n").decode("utf-8", "replace"))
        if line[3:4] != b"-":
            return Reply(int(line[:3]), "\n".join(texts))


class Session:
    """A client's session; `heard` keeps what was said by either side, a line each."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self.heard: list[str] = []
        self.greeting = self._reply()

    def say(self, line: str) -> Reply:
        self.heard.append(line)
        self._connection.sendall(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return self._reply()

    def begin(self, sender: str = "sender@example.org", options: str = "") -> None:
        """EHLO and MAIL, which must be accepted."""
        assert self.say("EHLO client.example.org").code == 250
        assert self.say(f"MAIL FROM:<{sender}>{options}").code == 250

    def rcpt(self, recipient: str) -> Reply:
        return self.say(f"RCPT TO:<{recipient}>")

    def send(self, *lines: str) -> Reply:
        """The message itself."""
        assert self.say("DATA").code == 354
        for line in lines:
            self._connection.sendall(line.encode() + b"\r\n")
        self.heard += lines
        return self.say(".")

    def close(self) -> None:
        self.heard.append("QUIT")
        with contextlib.suppress(OSError, EOFError):
            self._connection.sendall(b"QUIT\r\n")
            # Exim waits for this a while before it ends.
            self._connection.shutdown(socket.SHUT_WR)
            self._reply()
        self._stream.close()

    def _reply(self) -> Reply:
        reply = read_reply(self._stream)
        lines = reply.text.split("\n")
        self.heard += [f"{reply.code}-{line}" for line in lines[:-1]]
        self.heard.append(f"{reply.code} {lines[-1]}")
        return reply


@contextlib.contextmanager
def session(port: int, client: str = HOST) -> Iterator[Session]:
    """A session with the server on `port` of the loopback, from the loopback address `client`."""
    with socket.create_connection((HOST, port), PATIENCE, source_address=(client, 0)) as connection:
        talk = Session(connection)
        try:
            yield talk
        finally:
            talk.close()


def codes(port: int, recipients: Sequence[str], *, client: str = HOST) -> list[int]:
    """The reply codes to each recipient of one message, in a session of its own."""
    with session(port, client) as talk:
        talk.begin()
        return [talk.rcpt(recipient).code for recipient in recipients]


#: Below the ports of outgoing connections.
_PORTS = range(13_000, 29_000)
#: Processes of pytest-xdist; each has a share of the ports of its own.
_WORKERS = 8


def _candidates() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    share = _PORTS[worker % _WORKERS :: _WORKERS]
    begin = os.getpid() % len(share)
    return itertools.cycle([*share[begin:], *share[:begin]])


_NEXT = _candidates()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on; another test gets others."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind((HOST, next(_NEXT)))
            found.append(one.getsockname()[1])
    return found


def greets(port: int, host: str = HOST) -> bool:
    """Whether a server on `port` has said something, which a listening socket alone does not."""
    try:
        with socket.create_connection((host, port), PATIENCE) as connection:
            return bool(connection.recv(1))
    except ConnectionError:
        return False
