"""One user on an MX: what the map of the mirror says, and which stores list them."""

from __future__ import annotations

from typing import Iterable, Iterator, Mapping, Optional, Sequence

import attrs

from cyrusquota.engine import protocol, report, watch
from cyrusquota.engine.interface import Engine
from cyrusquota.engine.report import MirrorReport, StoreReport
from cyrusquota.errors import CyrusQuotaError, EngineError, MapError, printable
from cyrusquota.maps.installed import MIRROR_MAX_AGE, InstalledMap, installed_map
from cyrusquota.maps.redirect import refuses
from cyrusquota.maps.status import OVER, Status, size_left


@attrs.frozen
class StoreAnswer:
    """What one store says of a user: a status by each key that is theirs, or why it is not known.

    `seen` is how the mirror of this host sees the store.
    """

    name: str
    statuses: Mapping[bytes, Status]
    seen: Optional[StoreReport] = None
    problem: str = ""

    @property
    def counts(self) -> bool:
        """Whether what it says is in the map."""
        return bool(self.statuses) and self.seen is not None and self.seen.state == "fresh"


@attrs.frozen
class Explanation:
    """What is known of `address` on an MX; `problems` is what could not be read."""

    address: str
    path: str
    table: Optional[InstalledMap]
    value: Optional[bytes]
    stores: Sequence[StoreAnswer]
    problems: Sequence[str]


def explained(address: str, path: str, engine: Engine) -> Explanation:
    """Ask the map at `path`, the report of its mirror, and each store."""
    user = _User.of(address)
    table, seen, problems = None, None, []
    try:
        table = installed_map(path)
    except MapError as error:
        problems.append(str(error))
    try:
        seen = report.load(report.place(path))
    except MapError as error:
        problems.append(str(error))
    answers = []
    try:
        answers = list(_answers(user, engine, seen))
    except EngineError as error:
        problems.append(str(error))
        answers = [StoreAnswer(one.store, {}, one, "not asked") for one in _reports(seen)]
    keys = [key for one in answers for key in one.statuses]
    value = None if table is None else user.value(table, keys)
    return Explanation(address, path, table, value, answers, problems)


@attrs.frozen
class _User:
    local: str
    #: Empty where any will do.
    domain: str

    @classmethod
    def of(cls, address: str) -> _User:
        """Return the user of an address or a local part, with or without a +detail."""
        local, mark, domain = address.lower().rpartition("@")
        local, domain = (local, domain) if mark else (domain, "")
        return cls(local.partition("+")[0], domain)

    def is_named_by(self, key: bytes) -> bool:
        to = protocol.recipient_of(key)
        return to.local == self.local and (not self.domain or to.domain in (None, self.domain))

    def value(self, table: InstalledMap, keys: Iterable[bytes]) -> Optional[bytes]:
        """Return what the map says, by the address, the local part, or a key of a store."""
        address = f"{self.local}@{self.domain}"
        names = (address, self.local, *(key.decode("utf-8", "replace") for key in keys))
        return next(filter(None, map(table.value, names)), None)


def _reports(seen: Optional[MirrorReport]) -> Sequence[StoreReport]:
    return () if seen is None else seen.stores


def _answers(user: _User, engine: Engine, seen: Optional[MirrorReport]) -> Iterator[StoreAnswer]:
    reports = {one.store: one for one in _reports(seen)}
    for name in watch.names(engine, reports):
        try:
            content = engine.read(name)
        except CyrusQuotaError as error:
            yield StoreAnswer(name, {}, reports.get(name), str(error))
            continue
        entries = {} if content is None else content.entries
        statuses = {key: value for key, value in entries.items() if user.is_named_by(key)}
        yield StoreAnswer(name, statuses, reports.get(name))


# As text


def as_text(found: Explanation) -> Iterator[str]:
    """Yield the lines for people; the first says what becomes of mail."""
    yield f"{printable(found.address)}: {_verdict(found)}"
    yield ""
    if found.table is not None:
        value = "does not list them" if found.value is None else f"says {printable(found.value)}"
        age = int(found.table.age())
        yield f"map {printable(found.path)}: {value}; renewed {age} s ago{_too_old(age)}"
    for one in found.stores:
        yield f"store {one.name}: {_said(one)}; {_seen(one.seen)}"
    yield from map(printable, found.problems)


def _too_old(age: int) -> str:
    most = MIRROR_MAX_AGE
    return "" if age <= most else f", and a router with a maximum age of {most} s ignores it"


def _verdict(found: Explanation) -> str:
    listing = [one.name for one in found.stores if one.counts]
    by = f", because of {' and '.join(listing)}" if listing else ""
    if found.value is None:
        others = [one.name for one in found.stores if one.statuses]
        listed = f", though {' and '.join(others)} lists them" if others else ""
        return f"mail is accepted, as far as quotas go{listed}"
    if not refuses(found.value):
        return f"mail is accepted that fits into what is left{by}"
    return f"the map lists them as full{by}"


def _said(one: StoreAnswer) -> str:
    if one.problem:
        return printable(one.problem)
    if not one.statuses:
        return "does not list them"
    said = (f"{printable(key)} is {_status(status)}" for key, status in one.statuses.items())
    return ", ".join(said)


def _status(status: Status) -> str:
    size = size_left(status)
    if size is not None:
        return f"near the limit, with {size} bytes left"
    return "full" if status == OVER else "nearly full"


def _seen(one: Optional[StoreReport]) -> str:
    if one is None:
        return "the mirror of this host does not know it"
    if one.silence is None:
        return f"{one.state}, so it does not count"
    return f"{one.state}, written {int(one.silence)} s before the mirror reported"


# As JSON


def as_object(found: Explanation) -> Mapping[str, object]:
    """Return the members of the object."""
    table = found.table
    return {
        "address": found.address,
        "map": {
            "path": found.path,
            "value": None if found.value is None else found.value.decode("utf-8", "replace"),
            "age": None if table is None else round(table.age(), 1),
        },
        "stores": [_store_object(one) for one in found.stores],
        "problems": list(found.problems),
    }


def _store_object(one: StoreAnswer) -> Mapping[str, object]:
    return {
        "store": one.name,
        "statuses": {
            key.decode("utf-8", "replace"): status.decode() for key, status in one.statuses.items()
        },
        "state": None if one.seen is None else one.seen.state,
        "silence": None if one.seen is None else one.seen.silence,
        "publisher": None if one.seen is None else one.seen.publisher,
        "problem": one.problem or None,
    }
