"""What a mirror knows of the stores, in a file beside its map, for others on its host.

Only a mirror knows since when a store was not written, because no clock but its own counts. So it
tells monitoring and the other commands, which then ask nothing of the engine.
"""

from __future__ import annotations

import json
import os
import stat
import time
from typing import Any, Optional, Sequence

import attrs

from cyrusquota.engine.mirror import Mirror, StoreView
from cyrusquota.engine.protocol import LAPSE
from cyrusquota.errors import AnyPath, ForeignMap, MapError, MapForbidden, NoSuchMap, printable

_VERSION = 1
#: Far more than a thousand stores take.
_MAX_SIZE = 1 << 22
#: What is behind the name of the map.
SUFFIX = ".stores"


@attrs.frozen
class StoreReport:
    """A store as a mirror sees it.

    `state` is `fresh`, `lapsed` (no write was seen for a while), `missing`, or `waiting` as long as
    a mirror that was just started cannot tell. `silence` is the time
    in seconds since a write was last seen, None where none was since the mirror was started.
    `problem` says why what it holds does not count, or not all of it.
    """

    store: str
    state: str
    expected: bool
    silence: Optional[float]
    entries: int
    publisher: Optional[str]
    problem: Optional[str]

    @classmethod
    def of(cls, view: StoreView, *, is_settled: bool) -> StoreReport:
        """Return what `view` amounts to."""
        absent = "missing" if view.status is None else "lapsed"
        return cls(
            view.name,
            "fresh" if view.is_fresh else absent if is_settled else "waiting",
            view.is_expected,
            view.age,
            view.entries if view.is_fresh else 0,
            None if view.status is None else view.status.holder,
            view.problem or None,
        )

    @property
    def is_absent(self) -> bool:
        """Whether the store should be written, and is not."""
        return self.state in ("lapsed", "missing")

    @property
    def is_doubted(self) -> bool:
        """Whether the store counts as it was before, until it lapses; `problem` says why."""
        return self.state == "fresh" and self.problem is not None


@attrs.frozen
class MirrorReport:
    """All stores as a mirror saw them at the time `written`, in seconds since 1970.

    `without_domain` users are not in the map, which has addresses, as no domain is known for them.
    """

    engine: str
    written: float
    claimed_twice: int
    without_domain: int
    stores: Sequence[StoreReport]

    def content(self) -> bytes:
        """Return the file."""
        return json.dumps({"version": _VERSION, **attrs.asdict(self)}, indent=1).encode("ascii")

    def age(self, now: Optional[float] = None) -> float:
        """Return the seconds since it was written."""
        return (time.time() if now is None else now) - self.written

    @property
    def is_current(self) -> bool:
        """Whether the mirror that wrote it is still there; it writes twice in `LAPSE` seconds."""
        return abs(self.age()) <= LAPSE


def made(engine: str, mirror: Mirror, without_domain: int) -> MirrorReport:
    """Return the report of what a mirror sees now."""
    is_settled = mirror.is_settled
    stores = [StoreReport.of(view, is_settled=is_settled) for view in mirror.stores()]
    now = round(time.time(), 3)
    return MirrorReport(engine, now, mirror.claimed_twice, without_domain, stores)


def place(map_path: AnyPath) -> str:
    """Return where the report of the mirror is that writes the map at `map_path`."""
    return f"{os.fspath(map_path)}{SUFFIX}"


def load(path: AnyPath) -> MirrorReport:
    """Read a report. Raises `NoSuchMap`, `MapForbidden` or `ForeignMap`."""
    where = printable(os.fspath(path))
    try:
        return _parsed(_read(path))
    except (FileNotFoundError, NotADirectoryError):
        raise NoSuchMap(
            f"{where}: there is no report of a mirror; start cyrusquota-mirror, or name its map"
            " with --map"
        ) from None
    except PermissionError:
        raise MapForbidden(
            f"{where}: permission denied; run as root, or make every directory above it readable"
        ) from None
    except OSError as error:
        raise MapError(
            f"{where}: cannot be read: {error.strerror or error}; look into the kernel's log"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        raise ForeignMap(
            f"{where}: expected the report of a mirror; restart cyrusquota-mirror, which writes it"
        ) from None


def _read(path: AnyPath) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError
        return file.read(_MAX_SIZE)


def _parsed(content: bytes) -> MirrorReport:
    found = json.loads(content)
    if found.pop("version") != _VERSION:
        raise ValueError
    stores = [_store(one) for one in found.pop("stores")]
    return MirrorReport(
        str(found["engine"]),
        float(found["written"]),
        int(found["claimed_twice"]),
        int(found["without_domain"]),
        stores,
    )


def _store(found: dict[str, Any]) -> StoreReport:
    silence, publisher, problem = found["silence"], found["publisher"], found["problem"]
    return StoreReport(
        str(found["store"]),
        str(found["state"]),
        bool(found["expected"]),
        None if silence is None else float(silence),
        int(found["entries"]),
        None if publisher is None else str(publisher),
        None if problem is None else str(problem),
    )
