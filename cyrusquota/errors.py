"""All exceptions of the package, grouped by who has to act.

Nothing here prints: each class carries the exit status (sysexits.h) that fits it, and the
command line turns an error into one line of text and that status.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Callable, Iterator, Optional, Union

import attrs

AnyPath = Union[str, "os.PathLike[str]"]

EX_OK = 0
EX_USAGE = 64
EX_DATAERR = 65
EX_NOINPUT = 66
EX_NOUSER = 67
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_CANTCREAT = 73
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78
#: What a shell has for a program that was interrupted from the keyboard.
INTERRUPTED = 130

#: What no exception below says, by exit status.
OTHER_STATUSES = {
    EX_OK: "Done. A record that cannot be read is named on standard error and left out.",
    EX_SOFTWARE: "A bug of this program; please report it.",
    EX_TEMPFAIL: "A letter was refused or perhaps lost; the next run sends it again.",
    INTERRUPTED: "Interrupted from the keyboard.",
}

#: How much of an offending line or value an error message shows, in bytes.
SHOWN = 60


class CyrusQuotaError(Exception):
    """Base of everything this package raises; never raised itself."""

    exit_status = EX_SOFTWARE


class OptionError(CyrusQuotaError):
    """Options or arguments that cannot be followed; the message says which can."""

    exit_status = EX_USAGE


class ConfigError(CyrusQuotaError):
    """imapd.conf, the settings file or a template cannot be followed."""

    exit_status = EX_CONFIG


class SourceError(CyrusQuotaError):
    """The quota data cannot be read."""

    exit_status = EX_IOERR


class NoSuchSource(SourceError):
    """There is no file or directory where the quota data should be."""

    exit_status = EX_NOINPUT


class SourceForbidden(SourceError):
    """The quota data is there, but this user may not read it."""

    exit_status = EX_NOPERM


class UnsupportedBackend(SourceError):
    """The data is in a format that this package does not read; the message says how to dump it."""

    exit_status = EX_UNAVAILABLE


class MapError(CyrusQuotaError):
    """The map cannot be written, or the existing one cannot be read."""

    exit_status = EX_IOERR


class CannotCreateMap(MapError):
    """The map cannot be created where it was asked for."""

    exit_status = EX_CANTCREAT


class MapForbidden(MapError):
    """This user may not write the map, read it, or change its owner."""

    exit_status = EX_NOPERM


class NoSuchMap(MapError):
    """There is no map."""

    exit_status = EX_NOINPUT


class ForeignMap(MapError):
    """The file was not written by cyrusquota."""

    exit_status = EX_DATAERR


class MapLocked(MapError):
    """Another run holds the lock."""

    exit_status = EX_TEMPFAIL


class EximError(CyrusQuotaError):
    """Exim is not installed, or cannot answer."""

    exit_status = EX_UNAVAILABLE


class EngineError(CyrusQuotaError):
    """The engine, by which hosts share who is full, cannot be used; python3-redis is missing."""

    exit_status = EX_UNAVAILABLE


class EngineUnreachable(EngineError):
    """The engine does not answer, or not now; this may pass."""

    exit_status = EX_TEMPFAIL


class EngineForbidden(EngineError):
    """The engine refuses this user or a command, or either side's certificate is not accepted."""

    exit_status = EX_NOPERM


class EngineMisfit(EngineError):
    """The server is not set up as an engine: no Redis, no functions, or another format."""

    exit_status = EX_CONFIG


class BadStore(EngineError):
    """What a store holds is not what a publisher writes."""

    exit_status = EX_DATAERR


class NoSuchUser(CyrusQuotaError):
    """No user of that name has an INBOX or a quota root here."""

    exit_status = EX_NOUSER


class DeliveryError(CyrusQuotaError):
    """No letters can be handed over to the mail server."""

    exit_status = EX_UNAVAILABLE


class StateError(CyrusQuotaError):
    """The file that remembers what users were told cannot be used."""

    exit_status = EX_CANTCREAT


class HeldBack(MapError):
    """The new map differs too much from the existing one to be accepted without confirmation.

    Carries `reason`, `advice`, and `ceiling`: how many changes must be accepted for this new map
    to pass (None where no number would do).
    """

    exit_status = EX_TEMPFAIL

    def __init__(self, reason: str, advice: str, ceiling: Optional[int]) -> None:
        self.reason = reason
        self.advice = advice
        self.ceiling = ceiling
        super().__init__(f"{reason}; {advice}")

    def advising(self, advice: str) -> HeldBack:
        """Return the same error with advice that names the caller's own options."""
        return type(self)(self.reason, advice, self.ceiling)


@attrs.frozen
class Place:
    """A position in the data: a file, a line and column, a byte offset, a key.

    Lines and columns count from 1, offsets from 0. What is not known is None.
    """

    source: Optional[str] = None
    line: Optional[int] = None
    column: Optional[int] = None
    offset: Optional[int] = None
    key: Optional[bytes] = None

    def __str__(self) -> str:
        parts = [printable(self.source)] if self.source is not None else []
        if self.line is not None:
            parts.append(f"line {self.line}")
        if self.column is not None:
            parts.append(f"column {self.column}")
        if self.offset is not None:
            parts.append(f"offset {self.offset}")
        if self.key is not None:
            parts.append(f"quota root {quote(self.key)}")
        return ", ".join(parts)


class DataError(CyrusQuotaError):
    """The data is not what Cyrus would have written.

    Carries `place`, `found` (the bytes met, or None), `expected` and `advice`.
    """

    exit_status = EX_DATAERR

    def __init__(
        self,
        expected: str,
        *,
        place: Optional[Place] = None,
        found: Optional[bytes] = None,
        advice: str = "",
    ) -> None:
        self.expected = expected
        self.place = place or Place()
        self.found = found
        self.advice = advice
        super().__init__(self._message())

    def _message(self) -> str:
        text = f"expected {self.expected}"
        if self.found is not None:
            column = self.place.column
            text += f", found {quote(self.found, 0 if column is None else column - 1)}"
        where = str(self.place)
        text = f"{where}: {text}" if where else text
        return f"{text}; {self.advice}" if self.advice else text

    @property
    def caret(self) -> str:
        """Return the offending line with a caret under the spot, or '' without a column."""
        if self.found is None or self.place.column is None:
            return ""
        line, before = printable(self.found), printable(self.found[: self.place.column - 1])
        return f"{line}\n{' ' * len(before)}^"

    def at(self, place: Place) -> DataError:
        """Return the same error with what `place` knows filled in."""
        known = {k: v for k, v in attrs.asdict(place).items() if v is not None}
        return type(self)(
            self.expected,
            place=attrs.evolve(self.place, **known),
            found=self.found,
            advice=self.advice,
        )


class BadValue(DataError):
    """A quota value that Cyrus calls badly formatted, or that is cut."""


class BadReport(DataError):
    """Text in the output of `quota` that no version of it prints."""


class BadDump(DataError):
    """Text in a dump that neither `cyr_dbtool` nor `cvt_cyrusdb` writes."""


class DamagedDatabase(DataError):
    """A database, or one record of it, that fails a check."""


#: Takes a problem that need not end the reading: `raise_problem`, or something that keeps it, such
#: as the `append` of a list.
OnProblem = Callable[[CyrusQuotaError], None]


def raise_problem(problem: CyrusQuotaError) -> None:
    """Raise `problem`, so that the first one ends the reading."""
    raise problem


def printable(found: Union[bytes, str]) -> str:
    """Return `found` on one line, with everything escaped that is not printable or not UTF-8."""
    text = found.decode("utf-8", "surrogateescape") if isinstance(found, bytes) else found
    out = []
    for char in text:
        code = ord(char)
        if 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif char.isprintable():
            out.append(char)
        else:
            out.append(char.encode("unicode_escape").decode("ascii"))
    return "".join(out)


def count_of(count: int, noun: str) -> str:
    """Return `1 entry`, `2 entries`, `0 users`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"


def quote(found: bytes, around: int = 0) -> str:
    """Return `found` in quotes, at most `SHOWN` bytes of it, the byte `around` included."""
    start = max(0, min(around - SHOWN // 2, len(found) - SHOWN))
    piece = found[start : start + SHOWN]
    head, tail = "..." if start else "", "..." if start + SHOWN < len(found) else ""
    return f"{head}'{printable(piece)}'{tail}"


class IrregularFile(OSError):
    """A pipe, a device or a socket where a file should be."""


def source_error(error: OSError, path: AnyPath) -> SourceError:
    """Return the exception for an operating-system error met while reading `path`."""
    where = printable(str(path))
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        missing = _first_missing(Path(path))
        return NoSuchSource(
            f"{where}: no such file or directory{missing}; check the path, and that its file"
            " system is mounted"
        )
    if isinstance(error, PermissionError):
        return SourceForbidden(
            f"{where}: permission denied; run as root or as the Cyrus user (often 'cyrus')"
        )
    if isinstance(error, IrregularFile):
        return SourceError(
            f"{where}: expected a regular file, found {error.strerror}; name the database itself,"
            " or write what comes out of a pipe to a file first"
        )
    return SourceError(
        f"{where}: cannot be read: {error.strerror or error}; look into the kernel's log"
    )


def _first_missing(path: Path) -> str:
    for parent in reversed(path.parents):
        if not os.path.lexists(parent):
            return f" ({printable(str(parent))} does not exist)"
    return ""


@contextlib.contextmanager
def map_os_errors(path: AnyPath) -> Iterator[None]:
    """Raise operating-system errors met while writing the map `path` as `MapError`."""
    try:
        yield
    except OSError as error:
        raise map_error(error, path) from error


def map_error(error: OSError, path: AnyPath) -> MapError:
    """Return the exception for an operating-system error met while writing the map `path`."""
    where, directory = printable(str(path)), printable(str(Path(path).parent))
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return CannotCreateMap(
            f"{where}: the directory {directory} does not exist; make it first, readable for"
            " those who read the map"
        )
    kind, advice = _MAP_ERRORS.get(error.errno or 0, (MapError, "look into the kernel's log"))
    reason = error.strerror or str(error)
    advice = advice.replace("DIRECTORY", directory)
    return kind(f"{where}: {reason}; the existing map is unchanged; {advice}")


#: The exception and the advice, by errno.
_MAP_ERRORS: dict[int, tuple[type[MapError], str]] = {
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM),
        (
            MapForbidden,
            "DIRECTORY and what is in it must be writable, and only root may give files away",
        ),
    ),
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        (MapError, "make room in DIRECTORY and run again"),
    ),
    errno.EROFS: (CannotCreateMap, "mount DIRECTORY for writing, or name another file"),
    errno.EISDIR: (CannotCreateMap, "remove it, or name another file"),
    errno.ELOOP: (CannotCreateMap, "remove the symbolic link"),
    errno.ENAMETOOLONG: (CannotCreateMap, "give it a shorter name"),
}
