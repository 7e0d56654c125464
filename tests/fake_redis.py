"""A server on loopback that says what a test wants, for machines without Redis.

It speaks as much of Redis's protocol as is needed to give an answer to each request.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Callable, Iterator, Optional, Sequence, Union

import attrs

from cyrusquota.engine import protocol
from cyrusquota.engine.interface import Answer
from cyrusquota.engine.protocol import Stamp, StoreStatus

from .simulated_engine import Server

#: What is sent back: lists, numbers and bytes are encoded, `Raw` bytes are sent as they are.
Reply = Union[bytes, int, None, "Raw", Sequence["Reply"]]
Answers = Callable[[list[bytes]], Reply]


@attrs.frozen
class Raw:
    """Bytes to send, that often; the connection is closed afterwards if `closes`."""

    data: bytes
    closes: bool = False
    times: int = 1


def error(text: str) -> Raw:
    """Return an error of the server."""
    return Raw(b"-%b\r\n" % text.encode())


def encoded(reply: Reply) -> bytes:
    """Return a reply as Redis sends it."""
    if isinstance(reply, Raw):
        return reply.data
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    return b"*%d\r\n%b" % (len(reply), b"".join(map(encoded, reply)))


def request(lines: Iterator[bytes], read: Callable[[int], bytes]) -> Optional[list[bytes]]:
    """Return the words of the next request, or None at the end."""
    first = next(lines, b"")
    if not first.startswith(b"*"):
        return None
    words = []
    for _ in range(int(first[1:])):
        size = int(next(lines)[1:])
        words.append(read(size + 2)[:size])
    return words


@contextlib.contextmanager
def served(answers: Answers) -> Iterator[int]:
    """Answer requests as long as the context lasts; return the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError, StopIteration), connection:
            file = connection.makefile("rb")
            while True:
                words = request(iter(file.readline, b""), file.read)
                if words is None:
                    return
                reply = answers(words)
                data = encoded(reply)
                for _ in range(reply.times if isinstance(reply, Raw) else 1):
                    connection.sendall(data)
                if isinstance(reply, Raw) and reply.closes:
                    return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        # A blocked accept() would keep the port.
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for one in connections:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        thread.join()


def always(reply: Reply) -> Answers:
    """Return the same to each request but AUTH."""
    return lambda words: b"OK" if words[0] == b"AUTH" else reply


@attrs.define
class FakeRedis:
    """Answers the requests of `RedisEngine` from a simulated server, as the functions do."""

    server: Server = attrs.field(factory=Server)

    def __call__(self, words: list[bytes]) -> Reply:
        command = words[0].upper()
        if command in (b"AUTH", b"SELECT"):
            return b"OK"
        if command == b"SCAN":
            return [b"0", [protocol.keys(name)[0].encode() for name in self.server.stores]]
        assert command in (b"FCALL", b"FCALL_RO"), words
        count = int(words[2])
        keys, arguments = words[3 : 3 + count], words[3 + count :]
        function: Callable[[list[bytes], list[bytes]], Reply] = getattr(
            self, "_" + words[1].decode().partition("_")[2]
        )
        return function(keys, arguments)

    def _revision(self, keys: list[bytes], arguments: list[bytes]) -> Reply:
        return b"1"

    def _poll(self, keys: list[bytes], arguments: list[bytes]) -> Reply:
        answers: list[Reply] = []
        for number, key in enumerate(keys[::2]):
            have = Stamp(int(arguments[2 * number]), int(arguments[2 * number + 1]))
            news = self.server.news(_store(key), have)
            changes = () if news.changes is None else news.changes
            known = b"-" if news.changes is None else b"+"
            lines = [protocol.lines(change.put, change.drop) for change in changes]
            answers.append([_line(news.status), known, *lines])
        return answers

    def _read(self, keys: list[bytes], arguments: list[bytes]) -> Reply:
        content = self.server.read(_store(keys[0]))
        if content is None:
            return [b"", b"0", b""]
        return [_line(content.status), b"0", protocol.lines(content.entries)]

    def _begin(self, keys: list[bytes], arguments: list[bytes]) -> Reply:
        gen, seq, floor, holder, _, digest, lines = arguments
        store = _store(keys[0])
        answer = self.server.begin(
            store,
            Stamp(int(gen), int(seq)),
            int(floor),
            holder.decode(),
            protocol.change(lines, store).put,
            int(digest, 16),
        )
        return _answer(answer)

    def _write(self, keys: list[bytes], arguments: list[bytes]) -> Reply:
        gen, seq, count, digest, lines = arguments
        store = _store(keys[0])
        change = protocol.change(lines, store)
        at = Stamp(int(gen), int(seq))
        answer = self.server.write(store, at, change.put, change.drop, int(count), int(digest, 16))
        return _answer(answer)

    def _accept(self, keys: list[bytes], arguments: list[bytes]) -> Reply:
        answer = self.server.accept(_store(keys[0]), int(arguments[0]))
        return _answer(answer)

    def _forget(self, keys: list[bytes], arguments: list[bytes]) -> Reply:
        at = Stamp(int(arguments[0]), int(arguments[1]))
        answer = self.server.forget(_store(keys[0]), at)
        return _answer(answer)


def _store(key: bytes) -> str:
    name = protocol.store_of(key.rpartition(b":")[0] + b":m")
    assert name is not None
    return name


def _answer(answer: Answer) -> Reply:
    return [b"ok" if answer.accepted else b"no", _line(answer.status)]


def _line(status: Optional[StoreStatus]) -> bytes:
    if status is None:
        return b""
    accept = "-" if status.accept is None else status.accept
    stamp, digest = status.stamp, protocol.digest_text(status.digest)
    return (
        f"{protocol.FORMAT} {stamp.gen} {stamp.seq} {status.entries} {digest} {status.holder}"
        f" {accept}"
    ).encode()
