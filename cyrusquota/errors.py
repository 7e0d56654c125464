"""Every exception of the package, grouped by who has to put the matter right.

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
    INTERRUPTED: "Interrupted from the keyboard.",
}

#: How much of an offending line or value an error message shows, in bytes.
SHOWN = 60


class CyrusQuotaError(Exception):
    """Base of everything this package raises; never raised itself."""

    exit_status = EX_SOFTWARE


class OptionError(CyrusQuotaError):
    """The caller asked for something that cannot be done; the message says what can."""

    exit_status = EX_USAGE


class ConfigError(CyrusQuotaError):
    """imapd.conf cannot be followed."""

    exit_status = EX_CONFIG


class SourceError(CyrusQuotaError):
    """The quota data cannot be got at."""

    exit_status = EX_IOERR


class NoSuchSource(SourceError):
    """There is nothing at the place where the quota data should be."""

    exit_status = EX_NOINPUT


class SourceForbidden(SourceError):
    """The quota data is there, but this user may not read it."""

    exit_status = EX_NOPERM


class UnsupportedBackend(SourceError):
    """The data is in a format that is read by other means; the message names them."""

    exit_status = EX_UNAVAILABLE


class MapError(CyrusQuotaError):
    """The map cannot be written, or the one in place not be read."""

    exit_status = EX_IOERR


class CannotCreateMap(MapError):
    """The map cannot be created where it was asked for."""

    exit_status = EX_CANTCREAT


class MapForbidden(MapError):
    """This user may not write the map, not give it away, or not read it."""

    exit_status = EX_NOPERM


class NoSuchMap(MapError):
    """There is no map in place."""

    exit_status = EX_NOINPUT


class ForeignMap(MapError):
    """What is in the place of the map is none of ours."""

    exit_status = EX_DATAERR


class MapLocked(MapError):
    """Another run has the map in its hands."""

    exit_status = EX_TEMPFAIL


class EximError(CyrusQuotaError):
    """Exim is not there, or cannot say what it was asked."""

    exit_status = EX_UNAVAILABLE


class NoSuchUser(CyrusQuotaError):
    """Nobody of that name has an INBOX or a quota root here."""

    exit_status = EX_NOUSER


class HeldBack(MapError):
    """The new map differs too much from the one in place to be believed unasked.

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
        """The same, with advice in the words of the caller's own interface."""
        return type(self)(self.reason, advice, self.ceiling)


@attrs.frozen
class Place:
    """Where in the data something stands: a file, a line and column, a byte offset, a key.

    Lines and columns count from 1, offsets from 0. Whatever is not known is None.
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
        """The offending line with a caret under the spot, or '' where no column is known."""
        if self.found is None or self.place.column is None:
            return ""
        line, before = printable(self.found), printable(self.found[: self.place.column - 1])
        return f"{line}\n{' ' * len(before)}^"

    def at(self, place: Place) -> DataError:
        """The same error, found at `place` (what `place` leaves open is kept)."""
        known = {k: v for k, v in attrs.asdict(place).items() if v is not None}
        return type(self)(
            self.expected,
            place=attrs.evolve(self.place, **known),
            found=self.found,
            advice=self.advice,
        )


class BadValue(DataError):
    """A value that Cyrus calls badly formatted, or can make nothing of."""


class BadReport(DataError):
    """Something in the output of `quota` that no version of it prints."""


class BadDump(DataError):
    """Something in a dump that neither `cyr_dbtool` nor `cvt_cyrusdb` writes."""


class DamagedDatabase(DataError):
    """A database, or one record of it, that cannot be proved right."""


#: What a reader does with a problem that need not end the reading: `raise_problem`, or
#: something that keeps it, such as the `append` of a list.
OnProblem = Callable[[CyrusQuotaError], None]


def raise_problem(problem: CyrusQuotaError) -> None:
    """The strict choice: the first problem ends the reading."""
    raise problem


def printable(found: Union[bytes, str]) -> str:
    """`found` on one line, with everything escaped that is not printable or not UTF-8."""
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


def quote(found: bytes, around: int = 0) -> str:
    """`found` in quotes for a message, at most `SHOWN` bytes of it, the byte `around` included."""
    start = max(0, min(around - SHOWN // 2, len(found) - SHOWN))
    piece = found[start : start + SHOWN]
    head, tail = "..." if start else "", "..." if start + SHOWN < len(found) else ""
    return f"{head}'{printable(piece)}'{tail}"


def source_error(error: OSError, path: AnyPath) -> SourceError:
    """What an operating-system error met while reading `path` means to us."""
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
    """Turn an operating-system error met while putting the map `path` in place into ours."""
    try:
        yield
    except OSError as error:
        raise map_error(error, path) from error


def map_error(error: OSError, path: AnyPath) -> MapError:
    """What an operating-system error met while putting the map `path` in place means to us."""
    where, directory = printable(str(path)), printable(str(Path(path).parent))
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return CannotCreateMap(
            f"{where}: the directory {directory} does not exist; make it first, open to those who"
            " read the file"
        )
    kind, advice = _MAP_ERRORS.get(error.errno or 0, (MapError, "look into the kernel's log"))
    reason = error.strerror or str(error)
    advice = advice.replace("DIRECTORY", directory)
    return kind(f"{where}: {reason}; what is in place is as it was; {advice}")


#: By errno: whose fault it is, and what to do.
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
