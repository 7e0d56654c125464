"""Tell when Exim's daemon last read its configuration, and when that was last changed.

A daemon reads its configuration when it starts. After SIGHUP it runs itself again, so it starts
again. Each time it writes a line to the main log (daemon.c). The line is looked for in the log of
today, then in the rotated ones. Where they cannot tell, the time is not known; nothing is guessed.
Calls raise `EximError` where Exim itself does not answer.
"""

from __future__ import annotations

import bz2
import contextlib
import glob
import gzip
import lzma
import os
import re
import shlex
import stat
import zlib
from datetime import datetime, timezone, tzinfo
from typing import IO, Any, Callable, Iterator, Mapping, Optional
from zoneinfo import ZoneInfo

import attrs

from cyrusquota.errors import EximError, printable
from cyrusquota.mta.exim import Exim

_STARTED = re.compile(
    rb"\n(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?"
    rb"(?: (?P<offset>[+-][0-9]{4}))?(?: \[[0-9]+\])? exim \S{1,60} daemon started: pid=[0-9]+, "
    # Daemons that are "not listening" only run the queue.
    rb"(?:[^\n]{0,200}?, )?(?:listening for |launched with listening socket)"
)
_HINT = b" daemon started: pid="
#: More than `_STARTED` matches.
_OVERLAP = 512
_BLOCK = 1 << 20
#: How many bytes of the logs are searched, after decompression.
_SEARCHED = 1 << 30

#: A colon separates the items of a list, two stand for one.
_COLON = re.compile(r"(?<!:):(?!:)")
#: What a name in log_file_path may contain: the kind of log, the day, the month.
_PLACE = re.compile(r"(%[sDM])")
_REGEXPS = {"%s": "main", "%D": "[0-9]{8}", "%M": "[0-9]{6}"}
_GLOBS = {"%s": "main", "%D": "[0-9]" * 8, "%M": "[0-9]" * 6}
#: What log rotation appends: `.1`, `.01.gz`, `-20260131`, `.2.xz`.
_ROTATED = re.compile(r"(?:[.-][0-9]+)*(?:\.(?:gz|bz2|xz|lzma|zst|lz4|Z))?")
_UNPACKED: Mapping[str, Callable[[str], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".lzma": lzma.open,
}
_NOT_UNPACKED = (".zst", ".lz4", ".Z")
#: A line of `exim -bP config` says from which file the next ones are.
_FROM_FILE = re.compile(r'^# [0-9]+ "(?P<path>[^"\n]+)"$', re.MULTILINE)
_LOCALTIME = "/etc/localtime"


@attrs.frozen
class DaemonStart:
    """When the daemon last read its configuration; `why` says why `time` is not known."""

    time: Optional[datetime]
    why: str = ""

    def is_before(self, changed: datetime) -> bool:
        """Return whether the daemon is known to have read its configuration before it `changed`."""
        # The log has whole seconds.
        return self.time is not None and changed.replace(microsecond=0) > self.time


def configuration_changed(exim: Exim) -> Optional[datetime]:
    """Return when the configuration file, or one that it includes, was last changed."""
    paths = {exim.configuration_file()}
    # Exim before 4.86 cannot print which files it includes.
    with contextlib.suppress(EximError):
        paths.update(match["path"] for match in _FROM_FILE.finditer(exim.configuration()))
    times = []
    for path in paths:
        try:
            times.append(os.stat(path).st_mtime)
        except (OSError, ValueError):
            continue
    return datetime.fromtimestamp(max(times), timezone.utc) if times else None


def reload_command(exim: Exim) -> Optional[str]:
    """Return the command that makes the daemon read its configuration, or None if none is seen."""
    file = exim.option("pid_file_path") or f"{exim.option('spool_directory')}/exim-daemon.pid"
    return f'kill -HUP "$(cat {shlex.quote(file)})"' if os.path.exists(file) else None


def daemon_start(exim: Exim) -> DaemonStart:
    """Return when the daemon last read its configuration, or why that is not known."""
    names = _main_logs(exim)
    logs = _newest_first(names)
    if not names:
        return DaemonStart(None, "Exim logs to syslog only")
    if not logs:
        return DaemonStart(None, f"no log {printable(names[0].replace('%s', 'main'))} was found")
    left = _SEARCHED
    for log in logs:
        try:
            found, searched = _last_in(log, left)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            return DaemonStart(None, f"{printable(log)}: {reason}")
        if found is not None:
            return _time(found, exim.option("timezone"))
        left -= searched
        if left <= 0:
            return DaemonStart(None, f"{printable(log)}: is too large to be searched")
    older = " and those before it" if len(logs) > 1 else ""
    return DaemonStart(None, f"no daemon has started according to {printable(logs[0])}{older}")


def _main_logs(exim: Exim) -> list[str]:
    """Return the names that the main log may have; none if there is only syslog."""
    names = _file_names(exim.option("log_file_path"))
    if names != [""]:
        return [name for name in names if name][:1]
    # The default is what was compiled in, which an empty configuration shows.
    try:
        compiled = _file_names(Exim(exim.program, os.devnull).option("log_file_path"))
    except EximError:
        compiled = []
    return [*filter(None, compiled), f"{exim.option('spool_directory')}/log/%slog"][:1]


def _file_names(log_file_path: str) -> list[str]:
    """Return the items of the option that are files; an empty one is the default."""
    items = (item.strip().replace("::", ":") for item in _COLON.split(log_file_path))
    return list(dict.fromkeys(item for item in items if item != "syslog"))


def _newest_first(names: list[str]) -> list[str]:
    """Return the logs of these names, and the rotated ones."""
    found = set()
    for name in names:
        parts = _PLACE.split(name)
        pattern = "".join(_GLOBS.get(part, glob.escape(part)) for part in parts)
        wanted = re.compile("".join(_REGEXPS.get(part, re.escape(part)) for part in parts))
        for path in glob.glob(f"{pattern}*"):
            match = wanted.match(path)
            if match is not None and _ROTATED.fullmatch(path, match.end()):
                # It may have been rotated away by now.
                with contextlib.suppress(OSError):
                    found.add((os.stat(path).st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)]


def _last_in(path: str, most: int) -> tuple[Optional[re.Match[bytes]], int]:
    """Return the last start of a daemon in a log, and how many bytes were searched."""
    kind = os.path.splitext(path)[1]
    if not stat.S_ISREG(os.stat(path).st_mode) or kind in _NOT_UNPACKED:
        raise OSError(0, "cannot be searched")
    with _UNPACKED.get(kind, open)(path, "rb") as log:
        blocks = _from_start(log, most) if kind in _UNPACKED else _from_end(log, most)
        found, searched = None, 0
        for block in blocks:
            searched += len(block)
            last = _last(block)
            found = last or found
            if found is not None and kind not in _UNPACKED:
                break
    return found, searched


def _from_end(log: IO[bytes], most: int) -> Iterator[bytes]:
    """Yield a file in blocks that overlap, the last one first; a line break comes before it."""
    size = start = log.seek(0, os.SEEK_END)
    while start > 0 and size - start < most:
        end, start = start, max(0, start - _BLOCK)
        log.seek(start)
        block = log.read(end - start + _OVERLAP)
        yield block if start else b"\n" + block


def _from_start(log: IO[bytes], most: int) -> Iterator[bytes]:
    """Yield a compressed file, which has no end to begin at, in blocks that overlap."""
    before, read = b"\n", 0
    while read < most:
        block = log.read(_BLOCK)
        if not block:
            return
        read += len(block)
        before += block
        yield before
        before = before[-_OVERLAP:]
    raise OSError(0, "is too large to be searched")


def _last(block: bytes) -> Optional[re.Match[bytes]]:
    if _HINT not in block:
        return None
    return max(_STARTED.finditer(block), key=lambda one: one.start(), default=None)


def _time(line: re.Match[bytes], name: str) -> DaemonStart:
    """Return the time of a line in the log of an Exim whose timezone has this name."""
    written = line["time"].decode("ascii")
    try:
        if line["offset"] is not None:
            text = f"{written} {line['offset'].decode('ascii')}"
            return DaemonStart(datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z"))
        time = datetime.strptime(written, "%Y-%m-%d %H:%M:%S")
        return DaemonStart(time.replace(tzinfo=_zone(name)))
    except (OSError, ValueError, LookupError):
        return DaemonStart(None, f"timezone {printable(name)}: not known on this host")


def _zone(name: str) -> tzinfo:
    """Return the time zone of a name; without one, Exim uses that of the host."""
    if name:
        return timezone.utc if name.upper() == "UTC" else ZoneInfo(name)
    try:
        with open(_LOCALTIME, "rb") as file:
            return ZoneInfo.from_file(file)
    except FileNotFoundError:
        return timezone.utc
