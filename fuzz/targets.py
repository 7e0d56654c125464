"""The fuzz targets: functions that take any bytes, and raise only if there is a finding.

A reader gets the bytes as its file, a parser as its text. Documented errors are caught. Any other
exception is a finding, and so is using more than `SECONDS` of processor time. A fast path or a
lookup that answers must answer as the plain reader does.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence
from unittest import mock

from cyrusquota import cyrusdb
from cyrusquota.cyrus import dlist, imapdconf
from cyrusquota.cyrusdb import database, flat, selection, skip_list, sorted_run
from cyrusquota.cyrusdb.database import SQLITE_MAGIC
from cyrusquota.cyrusdb.quotalegacy import lookup as quotalegacy_lookup
from cyrusquota.cyrusdb.quotalegacy import reader as quotalegacy
from cyrusquota.cyrusdb.quotalegacy import scan as quotalegacy_scan
from cyrusquota.errors import CyrusQuotaError, OnProblem
from cyrusquota.parse import dump, report, value
from cyrusquota.quota import QuotaRoot
from cyrusquota.site import mailbox_list, mailboxes
from cyrusquota.verdicts.policies import LMTPD, Reserve
from cyrusquota.verdicts.selection import prefilter

from .seeds import BETWEEN_FILES, BETWEEN_PATH_AND_CONTENT

Target = Callable[[bytes], None]

#: Limit of processor time for an input of a few KiB.
SECONDS = 1.0

#: The settings to fuzz with: no waiting for a writer, since there is none; no other processes; and
#: small files are taken for large ones, in many pieces.
SETTINGS: tuple[tuple[Any, str, object], ...] = (
    *((database, "PAUSE", 0), (database, "TRIES", 2), (skip_list, "_TRIES", 2)),
    *((sorted_run, "WORTH_IT", 0), (sorted_run, "_PIECE", 200), (sorted_run, "_TRIES", 2)),
    *((flat, "_PIECE", 60), (dump, "_PIECE", 50), (report, "_PIECE", 300)),
    *((module, "processors", lambda: 1) for module in (sorted_run, flat, quotalegacy_scan)),
)

#: The functions that calculate checksums, by backend.
_CHECKSUMS = {
    "twoskip": ("twoskip.records.crc32", "twoskip.scan.crc32"),
    "twom": ("twom.records.checksum", "twom.scan.checksum"),
}

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


def _of_checked_file(backend: str, plain: Target) -> Target:
    """Read twice: as it is, and with every checksum taken for right, to get behind them."""

    def target(data: bytes) -> None:
        plain(data)
        with contextlib.ExitStack() as stack:
            for checksum in _CHECKSUMS[backend]:
                name = f"cyrusquota.cyrusdb.{checksum}"
                stack.enter_context(mock.patch(name, lambda data: _Fits()))
            plain(data)

    return target


def _of_sql(data: bytes) -> None:
    """Read twice: as it is, and with the right magic bytes and whole pages."""
    _of_file("sql")(data)
    whole = SQLITE_MAGIC + data[len(SQLITE_MAGIC) :]
    page_size = int.from_bytes(whole[16:18], "big") or 1
    _of_file("sql")(whole + bytes(-len(whole) % page_size))


def _trees(data: bytes) -> Iterator[dict[str, Optional[bool]]]:
    """Write the files that the bytes describe, and yield each combination of options."""
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
        yield {"fulldirhash": fulldirhash, "virtdomains": virtdomains}


def _of_tree(data: bytes) -> None:
    for options in _trees(data):
        with _documented():
            tree = quotalegacy.QuotaTree(_TREE, _check, **options)
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


# Fast paths and lookups


def _half(keys: object, values: Iterable[bytes]) -> list[int]:
    """Want about half of all values."""
    return [index for index, one in enumerate(values) if sum(one) % 2]


def _rows(opened: Callable[[OnProblem], cyrusdb.Database]) -> Optional[list[tuple[bytes, bytes]]]:
    """Return all that the plain reader gives, or None where it finds anything wrong."""
    problems: list[CyrusQuotaError] = []
    try:
        with opened(problems.append) as db:
            rows = list(db)
    except CyrusQuotaError:
        return None
    return None if problems else rows


def _agree(
    fast: Optional[cyrusdb.Selected], opened: Callable[[OnProblem], cyrusdb.Database]
) -> None:
    if fast is not None:
        rows = _rows(opened)
        assert rows is not None
        plain = selection.selected(rows, _half)
        assert (fast.records, sorted(fast.kept)) == (plain.records, sorted(plain.kept))


def _opened(backend: str) -> Callable[[OnProblem], cyrusdb.Database]:
    return lambda on_problem: cyrusdb.open(_FILE, backend, on_problem=on_problem)


def _of_selection(backend: str, module: str) -> Target:
    select = importlib.import_module(f"cyrusquota.cyrusdb.{module}").select

    def target(data: bytes) -> None:
        _FILE.write_bytes(data)
        # With other magic bytes, `open` takes it for another backend.
        if cyrusdb.guess(_FILE) in (None, backend):
            with _documented():
                fast = select(_FILE, _half)
            _agree(fast, _opened(backend))

    return target


def _of_tree_selection(data: bytes) -> None:
    for options in _trees(data):
        with _documented():
            fast = quotalegacy_scan.select(_TREE, _half, **options)
        _agree(fast, lambda on_problem: quotalegacy.QuotaTree(_TREE, on_problem, **options))  # noqa: B023


def _some_keys(rows: Optional[Sequence[tuple[bytes, bytes]]]) -> set[bytes]:
    """Return the first keys and the last, and some that are near them."""
    keys = {key for key, _ in (*(rows or ())[:3], *(rows or ())[-2:])}
    near = {key + b"\0" for key in keys} | {key[:-1] for key in keys}
    return (keys | near | {b"user.x"}) - {b""}


def _of_lookup(backend: str) -> Target:
    def target(data: bytes) -> None:
        _FILE.write_bytes(data)
        rows = _rows(_opened(backend))
        keys = _some_keys(rows)
        with _documented():
            found = cyrusdb.lookup(_FILE, keys, backend, on_problem=_check)
            assert rows is None or found == {**dict.fromkeys(keys), **_only(rows, keys)}

    return target


def _of_tree_lookup(data: bytes) -> None:
    for options in _trees(data):
        rows = _rows(lambda on_problem: quotalegacy.QuotaTree(_TREE, on_problem, **options))  # noqa: B023
        keys = _some_keys(rows)
        with _documented():
            found = quotalegacy_lookup.lookup(_TREE, keys, _check, **options)
            assert rows is None or found == {**dict.fromkeys(keys), **_only(rows, keys)}


def _only(rows: Sequence[tuple[bytes, bytes]], keys: set[bytes]) -> dict[bytes, bytes]:
    return {key: data for key, data in rows if key in keys}


_PREFILTER = prefilter(LMTPD, Reserve())


def _told(read: Callable[[OnProblem], Iterator[Any]]) -> tuple[list[Any], list[str], bool]:
    """Return what is read, what is said meanwhile, and whether an error ends it."""
    problems: list[CyrusQuotaError] = []
    found: list[Any] = []
    try:
        found.extend(read(problems.append))
    except CyrusQuotaError as error:
        return [], [*map(str, problems), str(error)], True
    return found, list(map(str, problems)), False


def _of_dump_selection(data: bytes) -> None:
    passed = list[int]()
    with _documented():
        fast, fast_problems, _ = _told(
            lambda on_problem: dump.selected(
                io.BytesIO(data), _PREFILTER, passed.append, on_problem=on_problem
            )
        )
    plain, problems, failed = _told(
        lambda on_problem: dump.records(io.BytesIO(data), on_problem=on_problem)
    )
    assert fast_problems == problems
    assert failed or len(fast) + sum(passed) == len(plain)
    assert [row for row in fast if _PREFILTER.wants(row[1])] == [
        row for row in plain if _PREFILTER.wants(row[1])
    ]


def _of_report_selection(data: bytes) -> None:
    passed = list[int]()
    with _documented():
        fast, fast_problems, _ = _told(
            lambda on_problem: report.selected(
                io.BytesIO(data), _PREFILTER, passed.append, on_problem=on_problem
            )
        )
    plain, problems, failed = _told(
        lambda on_problem: report.roots(io.BytesIO(data), on_problem=on_problem)
    )
    assert fast_problems == problems
    assert failed or len(fast) + sum(passed) == len(plain)
    assert list(filter(LMTPD.over, fast)) == list(filter(LMTPD.over, plain))


# Mailboxes

_LAYOUT = mailboxes.Layout(lambda partition, kind: "/spool", hashed=True, full=True)


def _check_inbox(inbox: mailboxes.Inbox) -> None:
    for text in (inbox.name, inbox.partition, inbox.uniqueid):
        (text or "").encode("utf-8", "surrogateescape")
    for full in (False, True):
        mailboxes.file_path(inbox, "header", mailboxes.Layout(_LAYOUT.directory, True, full))


def _of_mailboxes(data: bytes) -> None:
    """Take each line for a row; KEY TAB VALUE."""
    with _documented():
        for line in data.split(b"\n"):
            key, _, row = line.partition(b"\t")
            for inbox in mailboxes.inboxes([(key, row)]):
                _check_inbox(inbox)
                assert mailboxes.InboxKeys([inbox.name])([key]) == [0]
                keys = mailboxes.row_keys([inbox.name])
                assert keys is None or key in keys
                mailboxes.folder(inbox.name, [(key, row)])


def _of_mailbox_list(data: bytes) -> None:
    with _documented():
        for inbox in mailbox_list.from_dump(io.BytesIO(data), on_problem=_check):
            _check_inbox(inbox)
    with _documented():
        list(mailbox_list.from_dump(io.BytesIO(data)))


def _of_mailbox_file(read: Callable[[bytes], object]) -> Target:
    """Read a file of a mailbox, for which the documented error is a `ValueError` that says so."""

    def target(data: bytes) -> None:
        with _documented():
            try:
                found = read(data)
            except ValueError as error:
                assert type(error) is ValueError and str(error).startswith("expected ")
            else:
                str(found).encode("utf-8", "surrogateescape")

    return target


def _of_dlist(data: bytes) -> None:
    for signed in (False, True):
        with _documented():
            end, pairs = dlist.parse(data, signed=signed)
            assert 0 <= end <= len(data)
            for key, _ in pairs or ():
                dlist.text(dlist.child(pairs or [], key))


#: The targets, by name.
TARGETS: dict[str, Target] = {
    "flat": _of_file("flat"),
    "skiplist": _of_file("skiplist"),
    "twoskip": _of_checked_file("twoskip", _of_file("twoskip")),
    "twom": _of_checked_file("twom", _of_file("twom")),
    "sql": _of_sql,
    "quotalegacy": _of_tree,
    "value": _of_value,
    "report-text": _of_report,
    "report-json": _of_report,
    "dump": _of_dump,
    "db_dump": _of_dump,
    "imapdconf": _of_imapdconf,
    "fast-flat": _of_selection("flat", "flat"),
    "fast-skiplist": _of_selection("skiplist", "skiplist.scan"),
    "fast-twoskip": _of_checked_file("twoskip", _of_selection("twoskip", "twoskip.scan")),
    "fast-twom": _of_checked_file("twom", _of_selection("twom", "twom.scan")),
    "fast-quotalegacy": _of_tree_selection,
    "fast-dump": _of_dump_selection,
    "fast-report": _of_report_selection,
    "lookup-skiplist": _of_lookup("skiplist"),
    "lookup-twoskip": _of_lookup("twoskip"),
    "lookup-twom": _of_lookup("twom"),
    "lookup-quotalegacy": _of_tree_lookup,
    "mailboxes": _of_mailboxes,
    "mailbox-list": _of_mailbox_list,
    "header": _of_mailbox_file(mailboxes.header_root),
    "index": _of_mailbox_file(mailboxes.index_count),
    "dlist": _of_dlist,
}


def configure() -> None:
    """Use `SETTINGS`, for the rest of this process."""
    for module, name, setting in SETTINGS:
        setattr(module, name, setting)
