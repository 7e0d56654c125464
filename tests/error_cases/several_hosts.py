"""The engine that hosts share, and what they read from it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import threading
from typing import Callable, ContextManager, Iterator, Mapping, Optional
from unittest import mock

from cyrusquota.engine import protocol
from cyrusquota.engine.protocol import NO_STAMP
from cyrusquota.errors import (
    BadStore,
    ConfigError,
    EngineError,
    EngineForbidden,
    EngineMisfit,
    EngineUnreachable,
    ForeignMap,
    MapError,
    MapForbidden,
    NoSuchMap,
    OptionError,
)
from cyrusquota.maps.status import OVER
from tests.error_cases.case import ErrorCase, as_nobody, failing
from tests.fake_redis import Answers, FakeRedis, Raw, Reply, always, error, served
from tests.simulated_engine import Server

_STORES = "cyrusquota stores --engine redis://127.0.0.1:1"
#: The settings file names the server, whose port is another one each time.
_ASK = "cyrusquota stores --settings settings --forget store1"
_SHOW = "cyrusquota stores --settings settings --watch 0"
_REPORT = "cyrusquota metrics --mirror --map map"
_REPLICA = b"""\
SERVICES {
  syncserver cmd="sync_server" listen="csync"
}
"""


def _answered(
    answers: Answers, url: str = "redis://127.0.0.1:{}", also: str = ""
) -> Callable[[], ContextManager[None]]:
    """Let the settings file name a server that answers like this."""

    @contextlib.contextmanager
    def meanwhile() -> Iterator[None]:
        with served(answers) as port, open("settings", "w") as settings:
            settings.write(f"[engine]\nurl = {url.format(port)}\n{also}")
            settings.flush()
            yield

    return meanwhile


@contextlib.contextmanager
def _plain_text() -> Iterator[None]:
    """Let the settings file ask for TLS of a server that answers as Redis without it does."""
    listening = socket.create_server(("127.0.0.1", 0))
    # A command that never connects fails the test, and does not hang it.
    listening.settimeout(30)

    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1)
            connection.sendall(b"-ERR Protocol error\r\n")
            connection.recv(1 << 16)

    thread = threading.Thread(target=answer, daemon=True)
    with listening, open("settings", "w") as settings:
        thread.start()
        settings.write(f"[engine]\nurl = rediss://127.0.0.1:{listening.getsockname()[1]}\n")
        settings.flush()
        yield
        thread.join()


def _status(line: bytes) -> Answers:
    """Answer each question for a status with this line."""
    return always([[line, b"-"]])


def _server(entries: Optional[Mapping[bytes, bytes]] = None) -> Server:
    """Return a server with the store `store1`."""
    server, entries = Server(), dict(entries or {})
    server.begin("store1", NO_STAMP, 0, "be1:a", entries, protocol.digest(entries))
    return server


class _Replaced(FakeRedis):
    """A server on which the store is replaced again and again."""

    def _poll(self, keys: list[bytes], arguments: list[bytes]) -> Reply:
        answer = super()._poll(keys, [b"9"] * len(arguments))
        stamp = self.server.stores["store1"].status.stamp
        self.server.begin("store1", stamp, 0, "be1:a", {}, 0)
        return answer


class _Lines(FakeRedis):
    """A server that sends this page of entries."""

    page: Reply = None

    def _read(self, keys: list[bytes], arguments: list[bytes]) -> Reply:
        (answer,) = self._poll(keys[:1], [b"0", b"0"])  # type: ignore[misc]
        return [answer[0], b"0", *self.page]  # type: ignore[index,misc]


def _pages(*page: Reply) -> Answers:
    found = _Lines(_server())
    found.page = list(page)
    return found


def _changed() -> Answers:
    server = _server({b"jane@": OVER})
    server.stores["store1"].entries[b"joe@"] = OVER
    return FakeRedis(server)


@contextlib.contextmanager
def _unreadable() -> Iterator[None]:
    os.chmod("map.stores", 0)
    with as_nobody():
        yield


@contextlib.contextmanager
def _mode(name: str, mode: int) -> Iterator[None]:
    os.chmod(name, mode)
    yield


def _option(title: str, line: str) -> ErrorCase:
    return ErrorCase(title, OptionError, line)


def _url(title: str, url: str) -> ErrorCase:
    return _option(title, f"cyrusquota stores --engine {url}")


def _shown(title: str, kind: type[EngineError], answers: Answers) -> ErrorCase:
    """Return a case in which one of the stores cannot be read; the others are shown."""
    return ErrorCase(title, kind, _SHOW, within="store store1:", meanwhile=_answered(answers))


CASES = (
    # The command line and the settings file
    _option("publishing without an engine", "cyrusquota-export --follow --store store1"),
    _option("an engine without a store", "cyrusquota-export --follow -o map --engine redis://h"),
    _option("a mirror without a map", "cyrusquota-mirror --engine redis://127.0.0.1"),
    _option("an odd name for a store", "cyrusquota-mirror --engine redis://h -o map --expect -x"),
    _option("two things to do with stores", f"{_STORES} --forget a --accept-change b 1"),
    _option("no kind of user", "cyrusquota engine acl"),
    _option("an option for the functions", "cyrusquota engine functions --mirror"),
    _option("a measure of a mirror", "cyrusquota check -w stores=1"),
    _url("an engine of another kind", "postgresql://127.0.0.1"),
    _url("a password in a URL", "redis://:secret@127.0.0.1"),
    _url("half a path of a socket", "unix:redis.sock"),
    _url("Sentinels without a primary", "redis+sentinel://127.0.0.1,127.0.0.2"),
    _url("two servers", "redis://127.0.0.1,127.0.0.2"),
    _url("a server with an odd port", "redis://127.0.0.1:99999"),
    ErrorCase(
        "the URL in another section",
        ConfigError,
        "cyrusquota-export --settings settings",
        files={"settings": b"[export]\nengine = redis://127.0.0.1\n"},
    ),
    ErrorCase(
        "a replica that publishes",
        ConfigError,
        "cyrusquota-export -C imapd.conf --follow --engine redis://127.0.0.1:1 --store store1",
        files={"imapd.conf": b"configdirectory: /nowhere\n", "cyrus.conf": _REPLICA},
    ),
    ErrorCase(
        "the Python module is missing",
        EngineError,
        _STORES,
        meanwhile=lambda: mock.patch.dict(sys.modules, {"redis": None}),
    ),
    # The connection
    ErrorCase(
        "a certificate that is not there",
        EngineForbidden,
        "cyrusquota stores --settings settings",
        files={"settings": b"[engine]\nurl = rediss://127.0.0.1\nca-file = gone.crt\n"},
    ),
    ErrorCase(
        "a password that everybody can read",
        EngineForbidden,
        "cyrusquota stores --settings settings",
        files={
            "settings": b"[engine]\nurl = redis://127.0.0.1\npassword-file = password\n",
            "password": b"secret\n",
        },
        meanwhile=lambda: _mode("password", 0o644),
    ),
    ErrorCase(
        "a file with two passwords",
        EngineForbidden,
        "cyrusquota stores --settings settings",
        files={
            "settings": b"[engine]\nurl = redis://127.0.0.1\npassword-file = password\n",
            "password": b"secret\nsecret\n",
        },
        meanwhile=lambda: _mode("password", 0o600),
    ),
    ErrorCase(
        "plain text over the network",
        EngineForbidden,
        "cyrusquota stores --engine redis://192.0.2.1",
    ),
    ErrorCase(
        "a wrong password",
        EngineForbidden,
        _ASK,
        meanwhile=_answered(always(error("WRONGPASS invalid username-password pair"))),
    ),
    ErrorCase(
        "no functions in the server",
        EngineMisfit,
        _ASK,
        meanwhile=_answered(always(error("ERR Function not found"))),
    ),
    ErrorCase("nobody there", EngineUnreachable, _STORES),
    ErrorCase(
        "a server without TLS",
        EngineMisfit,
        _ASK,
        meanwhile=_plain_text,
    ),
    ErrorCase(
        "a file that has no certificate",
        EngineForbidden,
        _ASK,
        files={"ca.crt": b"nothing\n"},
        meanwhile=_answered(always(b"OK"), "rediss://127.0.0.1:{}", "ca-file = ca.crt\n"),
    ),
    ErrorCase(
        "an endless answer",
        EngineMisfit,
        _ASK,
        meanwhile=_answered(always(Raw(b"$99999999\r\n" + b"x" * (1 << 20), True, 20))),
    ),
    ErrorCase(
        "a Sentinel that knows no such primary",
        EngineMisfit,
        _ASK,
        meanwhile=_answered(always(None), "redis+sentinel://127.0.0.1:{}/quota"),
    ),
    ErrorCase(
        "a Sentinel that names no address",
        EngineMisfit,
        _ASK,
        meanwhile=_answered(always([b"a b", b"1"]), "redis+sentinel://127.0.0.1:{}/quota"),
    ),
    ErrorCase(
        "functions of somebody else",
        EngineMisfit,
        _ASK,
        meanwhile=_answered(always(b"OK")),
    ),
    # Stores
    ErrorCase(
        "a store that is not there",
        OptionError,
        _ASK,
        meanwhile=_answered(FakeRedis()),
    ),
    ErrorCase(
        "a store that is written meanwhile",
        OptionError,
        _ASK,
        meanwhile=_answered(_Replaced(_server())),
    ),
    ErrorCase(
        "a store in another format",
        EngineMisfit,
        _ASK,
        meanwhile=_answered(_status(b"9 1 1 0 0 be1:a -")),
    ),
    ErrorCase(
        "a store that makes no sense",
        BadStore,
        _ASK,
        meanwhile=_answered(_status(b"1 nonsense")),
    ),
    _shown("entries of somebody else", BadStore, _changed()),
    _shown("an entry with a text", BadStore, _pages(b"jane@\t:fail: no\n")),
    _shown("an entry of any length", BadStore, _pages()),
    _shown("a store that is replaced again and again", EngineUnreachable, _Replaced(_server())),
    # The report of a mirror
    ErrorCase("no report of a mirror", NoSuchMap, _REPORT),
    ErrorCase("another file for a report", ForeignMap, _REPORT, files={"map.stores": b"{}"}),
    ErrorCase(
        "a report that nobody may read",
        MapForbidden,
        _REPORT,
        files={"map.stores": b"{}"},
        meanwhile=_unreadable,
    ),
    ErrorCase(
        "a report on a broken disk",
        MapError,
        _REPORT,
        files={"map.stores": b"{}"},
        meanwhile=failing("os.open", errno.EIO),
    ),
)
