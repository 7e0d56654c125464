"""Inputs to start fuzzing with: recorded files, and some small ones."""

from __future__ import annotations

import hashlib
import os
import struct
import tarfile
from pathlib import Path
from typing import Callable, Iterable, Iterator

#: Separators between the files of a tree, and between the path and the content of each.
BETWEEN_FILES, BETWEEN_PATH_AND_CONTENT = b"\0\0", b"\0"

FIXTURES = Path(__file__).resolve().parents[1] / "tests" / "fixtures"
#: Size limit of a seed: fuzzing finds the same in small files, but sooner.
LARGEST = 1 << 14

_CONFS = (
    b"configdirectory: /var/lib/cyrus\nvirtdomains: userid\nquota_db: twoskip\n",
    b"configdirectory: /x\nlmtp_quota_db_path: {configdirectory}/q.db\nfulldirhash: yes\n",
    b"# a\n\\\nconfigdirectory:/x\\\ny\n@include: /imapd.conf\nunixhierarchysep: 0\n",
)


def _files(*patterns: str) -> Iterator[bytes]:
    for pattern in patterns:
        for path in sorted(FIXTURES.glob(pattern)):
            if path.is_file():
                yield path.read_bytes()


def _databases(backend: str, main: str) -> Iterator[bytes]:
    """Return the databases of a backend, without the pages of zeros at the end of some."""
    patterns = (f"{kind}/{backend}*/*.db" for kind in ("history", "crash", "edge", "badvalues"))
    for data in _files(*patterns, f"main/{main}/quotas.db"):
        yield data if main == "sqlite" else data.rstrip(b"\0") + bytes(64)


def _whole_databases(backend: str) -> Iterator[bytes]:
    """Return those that a fast path may answer: with nothing missing or added at the end."""
    yield from _files(*(f"{kind}/{backend}*/*.db" for kind in ("history", "crash")))
    if backend == "twoskip":
        yield from _files("mailboxes/mailboxes-3.6.1/mailboxes.db")


def _tree(files: Iterable[tuple[bytes, bytes]]) -> bytes:
    return BETWEEN_FILES.join(path + BETWEEN_PATH_AND_CONTENT + data for path, data in files)


def _trees() -> Iterator[bytes]:
    for archive in sorted(FIXTURES.glob("main/quotalegacy-*/lib.tar.gz")):
        files = []
        with tarfile.open(archive) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    path = os.fsencode(member.name).partition(b"lib/")[2]
                    files.append((path, content.read()))
        for start in range(0, len(files), 8):
            yield _tree(files[start : start + 8])


def _values() -> Iterator[bytes]:
    for shown in _files("*/*/text/cyr_dbtool-show.txt"):
        for line in shown.splitlines():
            yield line.partition(b"\t")[2]
    yield from (b"5 1 7 M 1 1 nf 2 2", b'%(S ({3}\r\n123 "4") SCAN %(MBOX {1+}\r\n) S 1))')


def _mailbox_rows() -> Iterator[bytes]:
    """Return the rows of recorded databases as lines KEY TAB VALUE."""
    # Not before atheris instruments it.
    from cyrusquota import cyrusdb

    yield from _files("mailboxes/*/*.raw.txt")
    for path in sorted(FIXTURES.glob("sites/*/lib/mailboxes.db")):
        with cyrusdb.open(path) as db:
            rows = list(db)
        for start in range(0, len(rows), 8):
            yield b"".join(b"%b\t%b\n" % row for row in rows[start : start + 8])


def _lists() -> Iterator[bytes]:
    yield from _values()
    for row in (line for lines in _mailbox_rows() for line in lines.splitlines()):
        yield row.partition(b"\t")[2]


def _indexes() -> Iterator[bytes]:
    """Return the fixed part of an index of each version that is known."""
    for version in (11, 12, 18, 19, 20):
        yield struct.pack(">24I", 0, 0, version, *range(21))


_SEEDS: dict[str, Callable[[], Iterable[bytes]]] = {
    "flat": lambda: _databases("flat", "flat"),
    "skiplist": lambda: _databases("skiplist", "skiplist"),
    "twoskip": lambda: _databases("twoskip", "twoskip"),
    "twom": lambda: _databases("twom", "twom"),
    "sql": lambda: _databases("sql", "sqlite"),
    "quotalegacy": _trees,
    "value": _values,
    "report-text": lambda: _files("*/*/text/quota.txt", "text-*/*.txt", "text-*/*/quota.txt"),
    "report-json": lambda: _files("*/*/text/quota.json", "text-*/*.json", "text-*/*/quota.json"),
    "dump": lambda: _files("*/*/text/*show.txt", "*/*/text/*.flat", "edge/*/show.txt"),
    "db_dump": lambda: _files("berkeley/dump-*.txt"),
    "imapdconf": lambda: (*_files("main/*/imapd.conf"), *_CONFS),
    "fast-flat": lambda: _whole_databases("flat"),
    "fast-skiplist": lambda: _whole_databases("skiplist"),
    "fast-twoskip": lambda: _whole_databases("twoskip"),
    "fast-twom": lambda: _whole_databases("twom"),
    "mailboxes": _mailbox_rows,
    "mailbox-list": lambda: _files("mailboxes/*/*.json", "mailboxes/*/*.raw.txt"),
    "header": lambda: _files("sites/*/spool/**/cyrus.header"),
    "index": _indexes,
    "dlist": _lists,
}
#: Targets that start from the seeds of another one.
_SEEDS.update(
    {
        **{f"lookup-{name}": _SEEDS[name] for name in ("skiplist", "twoskip", "twom")},
        **{f"{kind}-quotalegacy": _SEEDS["quotalegacy"] for kind in ("fast", "lookup")},
        "fast-dump": _SEEDS["dump"],
        "fast-report": _SEEDS["report-text"],
    }
)

#: The names of all targets.
TARGETS = tuple(_SEEDS)


def write(target: str, directory: Path) -> None:
    """Write the seeds of a target into a corpus directory, each once."""
    directory.mkdir(parents=True, exist_ok=True)
    for seed in _SEEDS[target]():
        kept = seed[:LARGEST]
        (directory / hashlib.sha256(kept).hexdigest()[:16]).write_bytes(kept)
