"""Check what several hosts share: the engine, the store of this host, and its mirror."""

from __future__ import annotations

from typing import Any, Callable, Iterator, Optional, Protocol, Sequence

import attrs

from cyrusquota.doctor.findings import Finding, finding
from cyrusquota.engine import functions, report, watch
from cyrusquota.engine.interface import Engine
from cyrusquota.engine.protocol import LAPSE
from cyrusquota.engine.watch import WATCHED, WatchedStore
from cyrusquota.errors import (
    CyrusQuotaError,
    EngineForbidden,
    EngineMisfit,
    EngineUnreachable,
    MapError,
    count_of,
)
from cyrusquota.maps import KeyForm

#: Seconds between which the maximum age of a map fits a mirror.
_LEAST_AGE, _MOST_AGE = 2 * LAPSE, 15 * LAPSE


class InspectedEngine(Engine, Protocol):
    """An engine that also tells how it is set up."""

    def revision(self) -> str:
        """Return the revision of its functions."""

    def unneeded(self, *words: str) -> Optional[Any]:
        """Return the answer to a command that no user needs a right for; None if it is refused."""


@attrs.frozen
class SharedEngine:
    """What this host has to do with an engine.

    `store` is what it publishes, `map` that of its mirror, and `max_age` that of the router for it;
    each is None for nothing. `key` says what the router for that map looks up. `elsewhere` says why
    no quotas count here. `hostname` is what its publisher calls itself.
    """

    opened: Callable[[], InspectedEngine]
    store: Optional[str] = None
    expect: Sequence[str] = ()
    map: Optional[str] = None
    max_age: Optional[int] = None
    key: str = KeyForm.ADDRESS.value
    elsewhere: Optional[str] = None
    is_plain: bool = False
    hostname: str = ""
    seconds: float = WATCHED


def examine(shared: SharedEngine) -> Iterator[Finding]:
    """Check the engine, for some seconds, and yield what is found."""
    yield from _of_this_host(shared)
    try:
        engine = shared.opened()
    except CyrusQuotaError as error:
        yield finding("engine-options", str(error))
        return
    try:
        yield from _of_engine(engine, shared)
    except EngineUnreachable as error:
        yield finding("engine-unreachable", str(error))
    except EngineForbidden as error:
        yield finding("engine-forbidden", str(error))
    except CyrusQuotaError as error:
        kind = "engine-misfit" if isinstance(error, EngineMisfit) else "engine-options"
        yield finding(kind, str(error))
    finally:
        engine.close()


def _of_this_host(shared: SharedEngine) -> Iterator[Finding]:
    if shared.is_plain:
        yield finding("engine-plaintext", "plaintext-over-network is set in [engine]")
    if shared.store is not None and shared.elsewhere is not None:
        yield finding("store-elsewhere", f"store {shared.store}: {shared.elsewhere}")
    if shared.map is None:
        return
    try:
        seen = report.load(report.place(shared.map))
    except MapError as error:
        yield finding("mirror-stopped", str(error))
    else:
        if not seen.is_current:
            yield finding("mirror-stopped", f"{shared.map}: reported {int(seen.age())} s ago")
    age = shared.max_age
    if age is not None and not _LEAST_AGE <= age <= _MOST_AGE:
        yield finding("mirror-max-age", f"CYRUSQUOTA_MAX_AGE is {age} seconds")


def _of_engine(engine: InspectedEngine, shared: SharedEngine) -> Iterator[Finding]:
    loaded, own = engine.revision(), functions.revision()
    if loaded != own:
        yield finding("engine-functions", f"{engine.name}: has revision {loaded}, and not {own}")
    yield from _of_rights(engine)
    # The user of a backend may not search for stores.
    is_backend = shared.map is None and shared.store is not None
    names = [shared.store or ""] if is_backend else watch.names(engine, shared.expect)
    found = watch.watched(engine, names, shared.seconds)
    yield finding("engine", f"{engine.name}: answers; {count_of(len(found), 'store')}")
    for one in found:
        yield from _of_store(one, shared)


def _of_rights(engine: InspectedEngine) -> Iterator[Finding]:
    answer = engine.unneeded("CONFIG", "GET", "maxmemory-policy")
    if answer is None:
        return
    yield finding("engine-rights", f"{engine.name}: this host may read its configuration")
    policy = answer[1].decode("latin-1") if isinstance(answer, list) and len(answer) == 2 else ""
    if policy not in ("", "noeviction"):
        yield finding("engine-evicts", f"{engine.name}: maxmemory-policy is {policy}")


def _of_store(one: WatchedStore, shared: SharedEngine) -> Iterator[Finding]:
    said = f"store {one.name}: {one.problem or one.state}"
    if one.state == "unreadable":
        yield finding("stores-unreadable", said)
    elif one.name == shared.store:
        holder = "" if one.status is None else one.status.holder
        if one.state != "fresh":
            yield finding("store-silent", said)
        elif holder.rpartition(":")[0] != shared.hostname:
            yield finding("store-taken", f"store {one.name}: is written by {holder}")
    elif one.state != "fresh" and (one.name in shared.expect or shared.map is not None):
        yield finding("stores-missing", said)
