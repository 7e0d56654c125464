"""Watch the stores of an engine for some seconds: which of them are still written.

Nothing in the engine tells when a store was written last, since no two clocks agree. What shows it
is that its stamp rises: a publisher writes every `BEAT` seconds at least.
"""

from __future__ import annotations

import time
from typing import Callable, Iterable, Mapping, Optional, Sequence

import attrs

from cyrusquota.engine.interface import Engine, StoreNews
from cyrusquota.engine.protocol import BEAT, NO_STAMP, Stamp, StoreStatus
from cyrusquota.errors import EngineError

#: Seconds: how long to watch, so that a beat is not missed by a little; and between two looks.
WATCHED, LOOK = BEAT + 2.0, 0.25


@attrs.frozen
class WatchedStore:
    """What was seen of a store.

    `status` is None where it is not there or makes no sense; `problem` says why it cannot be read.
    `is_written` says that somebody wrote to it meanwhile.
    """

    name: str
    status: Optional[StoreStatus]
    is_written: bool = False
    problem: str = ""

    @property
    def state(self) -> str:
        """`fresh`, `silent` (nobody writes), `missing` or `unreadable`."""
        if self.problem:
            return "unreadable"
        if self.status is None:
            return "missing"
        return "fresh" if self.is_written else "silent"


def names(engine: Engine, expect: Iterable[str] = ()) -> list[str]:
    """Return the names of the stores that are there or expected. Raises `EngineError`."""
    found = None
    while found is None:
        found = engine.stores()
    return sorted({*found, *expect})


def watched(
    engine: Engine,
    stores: Iterable[str],
    seconds: float = WATCHED,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[WatchedStore]:
    """Watch stores for so many seconds, or until each was written. Raises `EngineError`."""
    until = clock() + seconds
    found = {name: WatchedStore(name, None) for name in stores}
    first: dict[str, Stamp] = {}
    while True:
        for name, news in _news(engine, found).items():
            found[name] = _seen(found[name], news, first)
        waiting = [one for one in found.values() if one.state in ("silent", "missing")]
        left = until - clock()
        if not waiting or left <= 0:
            return list(found.values())
        sleep(min(LOOK, left))


def _news(engine: Engine, found: Mapping[str, WatchedStore]) -> Mapping[str, StoreNews]:
    """Return what is new in the stores that were not seen to be written."""
    have = {
        name: NO_STAMP if one.status is None else one.status.stamp
        for name, one in found.items()
        if not one.is_written
    }
    return engine.poll(have) if have else {}


def _seen(before: WatchedStore, news: StoreNews, first: dict[str, Stamp]) -> WatchedStore:
    name, error = before.name, news.error
    if error is not None or news.status is None:
        return WatchedStore(name, None, problem="" if error is None else str(error))
    stamp = news.status.stamp
    return WatchedStore(name, news.status, is_written=stamp > first.setdefault(name, stamp))


@attrs.frozen
class Claims:
    """Who is in more than one store: the names of the stores by key.

    `problems` has the stores whose entries cannot be read or do not agree with their digest.
    """

    by_key: Mapping[bytes, Sequence[str]]
    problems: Mapping[str, str]


def claims(engine: Engine, stores: Iterable[str]) -> Claims:
    """Return who is in more than one of these stores."""
    by_key: dict[bytes, list[str]] = {}
    problems: dict[str, str] = {}
    for name in stores:
        try:
            content = engine.read(name)
        except EngineError as error:
            problems[name] = str(error)
            continue
        problem = None if content is None else content.problem(name)
        if problem is not None:
            problems[name] = str(problem)
        for key in () if content is None else content.entries:
            by_key.setdefault(key, []).append(name)
    twice = {key: names for key, names in sorted(by_key.items()) if len(names) > 1}
    return Claims(twice, problems)
