"""The engine on Redis or Valkey, by the functions of `functions.lua`.

One connection, opened when it is needed and closed at the first failure. Nothing is repeated here:
whether a request was carried out is for the caller to find out. An answer takes a bounded time and
has a bounded size, whatever the server sends.

With Sentinels, these are asked for the primary before each connection, and now and then whether it
still is the primary.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Callable, Iterable, Mapping, Optional, Sequence, Union

from cyrusquota.engine import functions, protocol
from cyrusquota.engine.address import Address, EngineConfig, Host
from cyrusquota.engine.difference import Difference
from cyrusquota.engine.interface import Answer, StoreNews
from cyrusquota.engine.protocol import (
    MAX_BYTES,
    MAX_ENTRIES,
    Change,
    Entries,
    Stamp,
    StoreContent,
    StoreStatus,
)
from cyrusquota.engine.redis_connection import SENTINEL, Connection, redis_module
from cyrusquota.errors import (
    BadStore,
    EngineError,
    EngineForbidden,
    EngineMisfit,
    EngineUnreachable,
    OptionError,
    printable,
)

#: Seconds for an answer, and for each MiB that is sent.
ANSWER, PER_MIB = 1.0, 0.5
#: Seconds between two questions to a Sentinel about a primary that answers.
RECHECK = 5.0
#: Keys that one step of the search for stores looks at, and the most stores that it finds.
SCANNED, MAX_FOUND = 10_000, 10_000
#: Stores that are asked about in one request.
POLLED = 10


class RedisEngine:
    """An engine on a Redis server, or on the one that Sentinels name.

    Nothing is sent before the first call. Raises `EngineError` where python3-redis is missing.
    """

    def __init__(
        self, config: EngineConfig, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        redis_module()
        self._config = config
        self._clock = clock
        self._connection: Optional[Connection] = None
        self._primary: Optional[Host] = None
        self._sentinels = list(config.address.hosts)
        self._recheck_at = 0.0
        self._cursor = "0"
        self._seen: set[str] = set()
        self._found: Optional[list[str]] = None

    @property
    def name(self) -> str:
        """The URL, which has nothing secret."""
        return self._config.address.url

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    # Stores

    def status(self, store: str) -> Optional[StoreStatus]:
        """Return what a store says of itself (`Engine.status`)."""
        m, _, s = protocol.keys(store)
        (answer,) = _rows(self._call("poll", (m, s), (0, 0), is_read=True), 1)
        return protocol.status(_text(answer[0]), store)

    def begin(
        self, store: str, expected: Stamp, floor: int, holder: str, entries: Entries, digest: int
    ) -> Answer:
        """Write a snapshot (`Engine.begin`)."""
        text, lines = protocol.digest_text(digest), protocol.lines(entries)
        arguments = (*expected, floor, holder, len(entries), text, lines)
        return self._answer(store, "begin", protocol.keys(store), arguments)

    def write(
        self, store: str, at: Stamp, put: Entries, drop: Iterable[bytes], n: int, digest: int
    ) -> Answer:
        """Write a change or a beat (`Engine.write`)."""
        arguments = (*at, n, protocol.digest_text(digest), protocol.lines(put, drop))
        return self._answer(store, "write", protocol.keys(store), arguments)

    def accept(self, store: str, count: int) -> Answer:
        """Let a publisher make a change that it holds back (`Engine.accept`)."""
        return self._answer(store, "accept", protocol.keys(store)[:1], (count,))

    def forget(self, store: str, at: Stamp) -> Answer:
        """Remove a store (`Engine.forget`)."""
        return self._answer(store, "forget", protocol.keys(store), at)

    def _answer(
        self, store: str, function: str, keys: Sequence[str], arguments: Sequence[Any]
    ) -> Answer:
        answer = _row(self._call(function, keys, arguments))
        if len(answer) != 2:
            raise _not_ours()
        status: Optional[StoreStatus] = None
        with contextlib.suppress(BadStore):
            status = protocol.status(_text(answer[1]), store)
        return Answer(answer[0] == b"ok", status)

    def poll(self, have: Mapping[str, Stamp]) -> Mapping[str, StoreNews]:
        """Return what is new in stores (`Engine.poll`)."""
        news: dict[str, StoreNews] = {}
        names = list(have)
        for first in range(0, len(names), POLLED):
            some = names[first : first + POLLED]
            keys = [key for store in some for key in protocol.keys(store)[::2]]
            stamps = [number for store in some for number in have[store]]
            answers = _rows(self._call("poll", keys, stamps, is_read=True), len(some))
            news.update({store: _news(store, row) for store, row in zip(some, answers)})
        return news

    def read(self, store: str) -> Optional[StoreContent]:
        """Return all entries of a store (`Engine.read`).

        What is written while the pages are read is put on top of them from the stream.
        """
        m, e, _ = protocol.keys(store)
        for _ in range(3):
            first = self.status(store)
            if first is None:
                return None
            entries: dict[bytes, bytes] = {}
            cursor, size = b"0", 0
            while True:
                page = _row(self._call("read", (m, e), (cursor,), is_read=True))
                if len(page) != 3:
                    raise BadStore(
                        f"store {store}: has entries that are longer than any address or status;"
                        " somebody else has written there; its publisher, when it is restarted,"
                        " writes all entries"
                    )
                lines = _text(page[2])
                entries.update(protocol.change(lines, store).put)
                cursor, size = _text(page[1]), size + len(lines)
                if len(entries) > MAX_ENTRIES or size > 2 * MAX_BYTES:
                    raise BadStore(f"store {store}: has more than {MAX_ENTRIES} entries; remove it")
                if cursor == b"0":
                    break
            news = self.poll({store: first.stamp})[store]
            if news.error is not None:
                raise news.error
            if news.status is not None and news.changes is not None:
                Difference.of(news.changes).apply(entries)
                return StoreContent(news.status, entries)
        raise EngineUnreachable(
            f"store {store}: was replaced each time while it was read; this may pass"
        )

    def stores(self) -> Optional[Sequence[str]]:
        """Return the stores that the last search has found (`Engine.stores`)."""
        words = ["SCAN", self._cursor, "MATCH", "cq:{*}:m", "COUNT", SCANNED]
        answer = _row(self._request(words))
        if len(answer) != 2:
            raise _not_ours()
        for key in _row(answer[1]):
            name = protocol.store_of(_text(key))
            if name is not None and len(self._seen) < MAX_FOUND:
                self._seen.add(name)
        self._cursor = _text(answer[0]).decode("latin-1")
        if self._cursor == "0":
            self._found, self._seen = sorted(self._seen), set()
        return self._found

    def revision(self) -> str:
        """Return the revision of the functions that are loaded (`functions.revision`)."""
        return printable(_text(self._call("revision", (), (), is_read=True))[:20])

    def unneeded(self, *words: str) -> Optional[Any]:
        """Return the answer to a command that no user needs a right for; None if it is refused.

        With rights that are as narrow as they should be, each is.
        """
        try:
            return self._request(words)
        except EngineForbidden:
            return None

    # Requests

    def _call(
        self, function: str, keys: Sequence[str], arguments: Sequence[Any], *, is_read: bool = False
    ) -> Any:
        command = "FCALL_RO" if is_read else "FCALL"
        return self._request([command, functions.PREFIX + function, len(keys), *keys, *arguments])

    def _request(self, words: Sequence[Any]) -> Any:
        size = sum(len(word) for word in words if isinstance(word, bytes))
        self._check_primary()
        if self._connection is not None and self._connection.is_broken():
            self.close()
        if self._connection is None:
            self._connection = self._connected()
        try:
            return self._connection.call(words, ANSWER + PER_MIB * (size >> 20))
        except BaseException:
            self.close()
            raise

    def _connected(self) -> Connection:
        address = self._config.address
        if address.master is not None:
            self._primary = self._named_primary(address)
            self._recheck_at = self._clock() + RECHECK
            target: Union[str, Host] = self._primary
        else:
            target = address.hosts[0] if address.socket is None else address.socket
        return Connection.to(self._config, target)

    # Sentinels

    def _named_primary(self, address: Address) -> Host:
        """Return the primary that the first Sentinel names which answers."""
        errors: list[EngineError] = []
        for sentinel in [*self._sentinels]:
            try:
                found = self._ask(sentinel, address)
            except EngineError as error:
                errors.append(error)
            else:
                return found
            # The next time another one is asked first.
            self._sentinels.append(self._sentinels.pop(0))
        worst = next((one for one in errors if not isinstance(one, EngineUnreachable)), errors[0])
        raise type(worst)(f"engine {address.url}: no Sentinel has named the primary: {worst}")

    def _ask(self, sentinel: Host, address: Address) -> Host:
        connection = Connection.to(self._config, sentinel, sentinel=True)
        try:
            words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.master]
            answer = connection.call(words, SENTINEL)
        finally:
            connection.close()
        if answer is None:
            raise EngineMisfit(
                f"{sentinel}: knows no primary called {address.master}; check the end of the URL,"
                " and `SENTINEL MASTERS` there"
            )
        host, port = [_text(part).decode("latin-1") for part in _row(answer)]
        try:
            return Address.of(f"redis://{f'[{host}]' if ':' in host else host}:{port}").hosts[0]
        except OptionError:
            raise EngineMisfit(
                f"{sentinel}: names {printable(host)} as the primary, which is no address; look at"
                " sentinel announce-ip and resolve-hostnames there"
            ) from None

    def _check_primary(self) -> None:
        """Leave a server that is the primary no more, though it still answers."""
        address = self._config.address
        if address.master is None or self._connection is None or self._clock() < self._recheck_at:
            return
        self._recheck_at = self._clock() + RECHECK
        self._sentinels.append(self._sentinels.pop(0))
        try:
            is_primary = self._ask(self._sentinels[0], address) == self._primary
        except EngineError:
            # It costs time. The others are asked when the connection breaks.
            self._recheck_at = self._clock() + 10 * RECHECK
        else:
            if not is_primary:
                self.close()


def _news(store: str, row: Sequence[Any]) -> StoreNews:
    try:
        status = protocol.status(_text(row[0]), store)
        if status is None:
            return StoreNews()
        known = len(row) > 1 and row[1] == b"+"
        changes: tuple[Change, ...] = tuple(
            protocol.change(_text(lines), store) for lines in row[2:]
        )
        return StoreNews(status, changes if known else None)
    except EngineError as error:
        return StoreNews(error=error)


def _text(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise _not_ours()
    return value


def _row(value: object) -> Sequence[Any]:
    if not isinstance(value, list):
        raise _not_ours()
    return value


def _rows(value: object, count: int) -> Sequence[Sequence[Any]]:
    rows = [_row(row) for row in _row(value)]
    if len(rows) != count or not all(rows):
        raise _not_ours()
    return rows


def _not_ours() -> EngineMisfit:
    return EngineMisfit(
        f"engine: the functions {functions.LIBRARY} in the server are not those of cyrusquota; run"
        f" {functions.LOAD}"
    )
