"""The fuzz targets: functions that take any bytes, and raise only if there is a finding.

A reader gets the bytes as its file, a parser as its text. Documented errors are caught. Any other
exception is a finding, and so is using more than `SECONDS` of processor time.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Callable, Iterable, Iterator
from unittest import mock

from cyrusquota import cyrusdb
from cyrusquota.cyrus import imapdconf
from cyrusquota.cyrusdb import database
from cyrusquota.cyrusdb.database import SQLITE_MAGIC
from cyrusquota.cyrusdb.quotalegacy import reader as quotalegacy
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.parse import dump, report, value
from cyrusquota.quota import QuotaRoot

from .seeds import BETWEEN_FILES, BETWEEN_PATH_AND_CONTENT

Target = Callable[[bytes], None]

#: Limit of processor time for an input of a few KiB.
SECONDS = 1.0

#: The parent process removes TMPDIR, because libFuzzer ends this one without clean-up.
_DIRECTORY = Path(tempfile.mkdtemp(prefix="cq"))
_FILE, _TREE, _CONF = _DIRECTORY / "quotas.db", _DIRECTORY / "tree", _DIRECTORY / "imapd.conf"


class TooSlow(Exception):
    """An input took too much processor time."""


class _Fits(int):
    """A checksum that equals any other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


@contextlib.contextmanager
def _documented() -> Iterator[None]:
    """Catch documented errors; each must be one line."""
    start = time.process_time()
    try:
        yield
    except CyrusQuotaError as error:
        _check(error)
    took = time.process_time() - start
    if took > SECONDS:
        raise TooSlow(f"{took:.1f} seconds")


def _check(problem: CyrusQuotaError) -> None:
    assert "\n" not in str(problem)


def _check_records(records: Iterable[tuple[bytes, bytes]]) -> None:
    """Check that each key of a database occurs once."""
    seen = set()
    for key, data in records:
        assert isinstance(data, bytes)
        assert key not in seen
        seen.add(key)


def _check_roots(roots: Iterable[QuotaRoot]) -> None:
    for root in roots:
        root.name.encode("utf-8", "surrogateescape")
        for _, usage in root.usages():
            assert -(1 << 63) <= usage.used < 1 << 63
            assert usage.limit is None or -(1 << 63) <= usage.limit < 1 << 63


def _read(backend: str) -> None:
    with _documented(), cyrusdb.open(_FILE, backend, on_problem=_check) as database:
        _check_records(database)
        _check_records(database)
        database.snapshot()
        database.has_changed()


def _of_file(backend: str) -> Target:
    def target(data: bytes) -> None:
        _FILE.write_bytes(data)
        _read(backend)

    return target


def _of_checked_file(backend: str, checksum: str) -> Target:
    """Read twice: as it is, and with every checksum taken for right, to get behind them."""
    plain = _of_file(backend)

    def target(data: bytes) -> None:
        plain(data)
        with mock.patch(checksum, lambda data: _Fits()):
            _read(backend)

    return target


def _of_sql(data: bytes) -> None:
    """Read twice: as it is, and with the right magic bytes and whole pages."""
    _of_file("sql")(data)
    whole = SQLITE_MAGIC + data[len(SQLITE_MAGIC) :]
    page_size = int.from_bytes(whole[16:18], "big") or 1
    _of_file("sql")(whole + bytes(-len(whole) % page_size))


def _of_tree(data: bytes) -> None:
    """Write the files that the bytes describe, and read them with each combination of options."""
    shutil.rmtree(_TREE, ignore_errors=True)
    _TREE.mkdir()
    for entry in data.split(BETWEEN_FILES):
        path, _, content = entry.partition(BETWEEN_PATH_AND_CONTENT)
        parts = [part for part in path.split(b"/") if part not in (b"", b".", b"..")]
        with contextlib.suppress(OSError, ValueError):
            place = os.path.join(os.fsencode(_TREE), *parts)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as file:
                file.write(content)
    for fulldirhash, virtdomains in ((None, None), (False, True), (True, False)):
        with _documented():
            tree = quotalegacy.QuotaTree(
                _TREE, _check, fulldirhash=fulldirhash, virtdomains=virtdomains
            )
            _check_records(tree)
            tree.snapshot()
            tree.has_changed()


def _of_value(data: bytes) -> None:
    with _documented():
        value.usages(data, on_problem=_check)
        root = value.quota_root(b"user.x", data, on_problem=_check)
        _check_roots([] if root is None else [root])
    with _documented():
        value.usages(data)


def _of_report(data: bytes) -> None:
    with _documented():
        _check_roots(report.roots(io.BytesIO(data), on_problem=_check))
    with _documented():
        _check_roots(report.roots(io.BytesIO(data)))


def _of_dump(data: bytes) -> None:
    with _documented():
        for key, content in dump.records(io.BytesIO(data), on_problem=_check):
            root = value.quota_root(key, content, on_problem=_check)
            _check_roots([] if root is None else [root])
    with _documented():
        list(dump.records(io.BytesIO(data)))


def _of_imapdconf(data: bytes) -> None:
    _CONF.write_bytes(data.replace(b"@include:/", b"@include:" + os.fsencode(_DIRECTORY) + b"/"))
    with _documented():
        conf = imapdconf.load(_CONF)
        for found in (
            lambda: conf.configdirectory,
            lambda: conf.naming,
            lambda: conf.quota_backend,
            lambda: conf.quota_path,
            lambda: conf.quotalegacy_base,
        ):
            with _documented():
                found()


#: The targets, by name.
TARGETS: dict[str, Target] = {
    "flat": _of_file("flat"),
    "skiplist": _of_file("skiplist"),
    "twoskip": _of_checked_file("twoskip", "cyrusquota.cyrusdb.twoskip.records.crc32"),
    "twom": _of_checked_file("twom", "cyrusquota.cyrusdb.twom.records.checksum"),
    "sql": _of_sql,
    "quotalegacy": _of_tree,
    "value": _of_value,
    "report-text": _of_report,
    "report-json": _of_report,
    "dump": _of_dump,
    "db_dump": _of_dump,
    "imapdconf": _of_imapdconf,
}


def be_impatient() -> None:
    """Do not wait for a writer; there is none."""
    database.PAUSE, database.TRIES = 0, 2
