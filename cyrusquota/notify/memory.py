"""Remember in a SQLite file who was told what and when, and decide who is told now.

Each letter is recorded before it is sent, with its Message-ID and Date, and marked when its fate is
known. So a run that is killed at any moment leaves a letter that was surely not sent, one that was,
or one that is `tried`; that one is sent again with the same Message-ID and Date, by which Cyrus
recognises a duplicate (imap/duplicate.c).

Times are seconds by the clock, which may jump. While it is behind the time of an earlier run, it is
not believed, and nothing is repeated. Letters of that time are stamped as later than that run; when
the clock has caught up, or was behind for as long as a repetition takes, such stamps become now.
"""

from __future__ import annotations

import contextlib
import enum
import os
import sqlite3
from typing import Iterable, Iterator, Optional

import attrs

from cyrusquota.errors import AnyPath, MapError, MapLocked, StateError, printable
from cyrusquota.notify.thresholds import FULL, Standing, Threshold
from cyrusquota.publish import lock, target_directory

#: Marks the file as one of these: "Cqno".
_APPLICATION = 0x43716E6F
_VERSION = 1
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE clock (latest INTEGER NOT NULL, behind_since INTEGER);
INSERT INTO clock VALUES (0, NULL);
CREATE TABLE told (
    user TEXT NOT NULL, threshold TEXT NOT NULL, time INTEGER NOT NULL,
    PRIMARY KEY (user, threshold)
) WITHOUT ROWID;
CREATE TABLE tried (
    user TEXT PRIMARY KEY NOT NULL, threshold TEXT NOT NULL, message_id TEXT NOT NULL,
    date INTEGER NOT NULL, time INTEGER NOT NULL, refused INTEGER NOT NULL
) WITHOUT ROWID;
"""
#: Seconds before a letter whose fate is unknown is sent again.
_REST = 60


class Why(enum.Enum):
    """Why a letter is due."""

    NEW = "not told yet"
    REPEATED = "told before, and still so"
    UNKNOWN = "not known whether the last letter arrived"
    REFUSED = "the last letter was refused"


@attrs.frozen
class Attempt:
    """A letter that was handed over, and refused, or whose fate is not known.

    `date` is that of the first attempt, `time` that of the last one.
    """

    threshold: Threshold
    message_id: str
    date: int
    time: int
    is_refused: bool = False


@attrs.frozen
class Due:
    """A letter that is due: to whom, about which threshold, and why. `before` was the last try."""

    standing: Standing
    threshold: Threshold
    why: Why
    before: Optional[Attempt] = None

    def attempt(self, message_id: str, now: int) -> Attempt:
        """Return the attempt to make now; `message_id` is that of a new letter.

        What may have arrived counts for this threshold only if it was about this or a higher one.
        """
        before = self.before
        if before is None or before.is_refused or before.threshold < self.threshold:
            return Attempt(self.threshold, message_id, now, now)
        return attrs.evolve(before, threshold=self.threshold, time=now)

    def order(self) -> tuple[float, float, str]:
        """Return the key to sort by: what was not tried yet, then what was tried longest ago."""
        tried = 0 if self.before is None else self.before.time
        return tried, -self.threshold.percent, self.standing.user


@attrs.define
class Memory:
    """What is remembered, in the file and, for the decisions, here."""

    _file: sqlite3.Connection
    _path: str
    _told: dict[str, dict[Threshold, int]] = attrs.field(init=False, factory=dict)
    _tried: dict[str, Attempt] = attrs.field(init=False, factory=dict)
    #: The time of this run, and what its letters are stamped with.
    _time: int = attrs.field(init=False, default=0)
    _stamp: int = attrs.field(init=False, default=0)

    def begin(self, now: int, repeat: int) -> None:
        """Begin a run at `now` by the clock; `repeat` is in seconds."""
        with self._transaction() as file:
            latest, behind_since = file.execute("SELECT latest, behind_since FROM clock").fetchone()
            if now < latest:
                behind_since = now if behind_since is None else min(now, behind_since)
            if now >= latest or now - behind_since >= repeat:
                row = (now, min(now, latest))
                file.execute("UPDATE told SET time = ? WHERE time > ?", row)
                latest, behind_since = now, None
            file.execute("UPDATE clock SET latest = ?, behind_since = ?", (latest, behind_since))
            self._time, self._stamp = latest, latest + (behind_since is not None)
            self._told, self._tried = {}, {}
            for user, name, time in file.execute("SELECT user, threshold, time FROM told"):
                self._told.setdefault(user, {})[_threshold(name)] = int(time)
            columns = "user, threshold, message_id, date, time, refused"
            for user, name, *rest, refused in file.execute(f"SELECT {columns} FROM tried"):
                message_id, date, last = rest
                self._tried[user] = Attempt(
                    _threshold(name), str(message_id), int(date), int(last), bool(refused)
                )

    def forget(self, standings: Iterable[Standing], kept: Iterable[str]) -> None:
        """Forget of which thresholds users were told who are below them now.

        Users without a standing are below all, except those in `kept`, who may have one.
        """
        found = {standing.user: standing for standing in standings}
        unknown = {*kept} - found.keys()

        def is_below(user: str, threshold: Threshold) -> bool:
            standing = found.get(user)
            return standing.is_below(threshold) if standing else user not in unknown

        told = [
            (user, threshold)
            for user, times in self._told.items()
            for threshold in times
            if is_below(user, threshold)
        ]
        tried = [user for user, one in self._tried.items() if is_below(user, one.threshold)]
        with self._transaction() as file:
            rows = ((user, threshold.name) for user, threshold in told)
            file.executemany("DELETE FROM told WHERE user = ? AND threshold = ?", rows)
            file.executemany("DELETE FROM tried WHERE user = ?", ((user,) for user in tried))
        for user, threshold in told:
            del self._told[user][threshold]
        for user in tried:
            del self._tried[user]

    @property
    def users(self) -> frozenset[str]:
        """The users of whom anything is remembered."""
        return frozenset({**self._told, **self._tried})

    def due(self, standing: Standing, threshold: Threshold, now: int, repeat: int) -> Optional[Due]:
        """Return the letter that is due to a user who has reached `threshold`, or None.

        While a letter may still arrive, no other one is due.
        """
        told = self._told.get(standing.user, {}).get(threshold)
        before = self._tried.get(standing.user)
        if told is not None and self._time - told < repeat:
            return None
        why = Why.NEW if told is None else Why.REPEATED
        if before is not None:
            if not before.is_refused and abs(now - before.time) < _REST:
                return None
            why = Why.REFUSED if before.is_refused else Why.UNKNOWN
        return Due(standing, threshold, why, before)

    def try_now(self, user: str, attempt: Attempt) -> None:
        """Record a letter that is about to be handed over."""
        one = attempt
        row = (user, one.threshold.name, one.message_id, one.date, one.time, one.is_refused)
        with self._transaction() as file:
            file.execute("INSERT OR REPLACE INTO tried VALUES (?, ?, ?, ?, ?, ?)", row)

    def mark_sent(self, user: str, thresholds: Iterable[Threshold]) -> None:
        """Record that the letter to a user has arrived, and was about all these thresholds."""
        rows = ((user, threshold.name, self._stamp) for threshold in thresholds)
        with self._transaction() as file:
            file.execute("DELETE FROM tried WHERE user = ?", (user,))
            file.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", rows)

    def mark_refused(self, user: str) -> None:
        """Record that the letter to a user has surely not arrived."""
        with self._transaction() as file:
            file.execute("UPDATE tried SET refused = 1 WHERE user = ?", (user,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _errors(self._path), self._file:
            self._file.execute("BEGIN IMMEDIATE")
            yield self._file


@contextlib.contextmanager
def opened(path: AnyPath, *, is_trial: bool = False) -> Iterator[Memory]:
    """Open the file at `path`, and make it if there is none; `is_trial` works on a copy instead.

    Raises `StateError` for a file that cannot be used, and `MapLocked` while another run uses it.
    """
    where = os.fspath(path)
    with contextlib.ExitStack() as stack:
        with _errors(where):
            if not is_trial:
                _lock(where, stack)
            file = stack.enter_context(
                contextlib.closing(_copy(where) if is_trial else _file(where))
            )
            _check(file, where)
        yield Memory(file, where)


def _lock(path: str, stack: contextlib.ExitStack) -> None:
    try:
        directory = stack.enter_context(target_directory.opened(path))
        stack.enter_context(lock.locked(directory))
    except MapLocked:
        raise MapLocked(
            f"{printable(path)}: another run is sending letters; try again later"
        ) from None
    except MapError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise StateError(str(error)) from None


def _file(path: str) -> sqlite3.Connection:
    # SQLite would let others read the names of users.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return _connected(path)


def _copy(path: str) -> sqlite3.Connection:
    copy = _connected(":memory:")
    if os.path.exists(path):
        with contextlib.closing(_connected(path)) as file:
            file.execute("PRAGMA query_only = 1")
            file.backup(copy)
    return copy


def _connected(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def _check(file: sqlite3.Connection, path: str) -> None:
    """Raise `StateError` for a database of another program or version; fill an empty one."""
    found = tuple(
        file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if found == (_APPLICATION, _VERSION):
        return
    if found != (0, 0) or file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StateError(
            f"{printable(path)}: is not a state file of this version of `cyrusquota notify`; name"
            " another file with --state, or move this one away"
        )
    file.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")


def _threshold(name: str) -> Threshold:
    return FULL if name == FULL.name else Threshold(float(name), name)


@contextlib.contextmanager
def _errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(
            f"{printable(path)}: cannot be used: {error.strerror}; name another file with --state,"
            " in a directory that is writable for this user"
        ) from error
    except sqlite3.OperationalError as error:
        raise StateError(
            f"{printable(path)}: cannot be used: {printable(str(error))}; check its owner, and that"
            " its directory has room"
        ) from error
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise StateError(
            f"{printable(path)}: is damaged: {printable(str(error))}; move it away, and users are"
            " told once more of what they were told before"
        ) from error
