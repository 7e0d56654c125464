"""Cyrus's own tools read what the writers of the tests write, and so prove them right."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator

import pytest

from cyrusquota import cyrusdb
from cyrusquota.strategies.writers import WRITERS, Writer, close

pytestmark = pytest.mark.integration

_TOOL = Path("/usr/lib/cyrus/bin/cyr_dbtool")
_HINT = "no cyr_dbtool here, or not run as root: as root, apt-get install cyrus-imapd cyrus-admin"
_CONF = """\
configdirectory: {base}
proc_path: {base}/proc
mboxname_lockpath: {base}/lock
defaultpartition: default
partition-default: {base}/spool
sql_engine: sqlite
"""
_NAMES = ("a", "ab", "a.b", "a-b", "b", "c d", "caf\xe9", "\xff", "^", "&AOk-", "zz")


@pytest.fixture
def base() -> Iterator[Path]:
    """A configdirectory that belongs to Cyrus."""
    if not _TOOL.exists() or os.geteuid() != 0:
        (pytest.fail if os.environ.get("CYRUSQUOTA_NO_SKIP") else pytest.skip)(_HINT)
    directory = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
    for name in ("db", "lock", "proc", "spool"):
        (directory / name).mkdir()
    (directory / "imapd.conf").write_text(_CONF.format(base=directory))
    _hand_over(directory)
    yield directory
    shutil.rmtree(directory)


def _hand_over(directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        shutil.chown(path, "cyrus", "mail")


def _tool(db: Path, backend: str, *words: str) -> bytes:
    command = [str(_TOOL), "-C", str(db.parent / "imapd.conf"), str(db), backend, *words]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return done.stdout


def _shown(db: Path, backend: str) -> dict[bytes, bytes]:
    lines = _tool(db, backend, "show").split(b"\n")
    assert lines.pop() == b""
    pairs = [line.partition(b"\t")[::2] for line in lines]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def _history(writer: Writer, seed: int) -> dict[bytes, bytes]:
    """Write a history that ends with a commit; gives back what is live then."""
    chance = random.Random(seed)
    state: dict[bytes, bytes] = {}
    for step in range(40):
        changed = dict(state)
        writer.begin()
        for _ in range(chance.randrange(5)):
            key = b"user." + chance.choice(_NAMES).encode("latin-1")
            if key in changed and chance.random() < 0.3:
                writer.delete(key)
                del changed[key]
            else:
                changed[key] = b"%%(S (%d 10))" % chance.randrange(1 << chance.randrange(1, 40))
                writer.set(key, changed[key])
        if chance.random() < 0.3 and step < 39:
            writer.abort()
            continue
        writer.commit()
        state = changed
        if chance.random() < 0.2 and step < 35:
            writer.repack()
    return state


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("backend", ["flat", "skiplist", "sql"])
def test_cyrus_shows_the_records_that_were_written(base: Path, backend: str, seed: int) -> None:
    db = base / "quotas.db"
    writer = WRITERS[backend](db)
    state = _history(writer, seed)
    close(writer)
    # Older than the file, so that Cyrus follows its pointers instead of repairing it first.
    (base / "db" / "skipstamp").write_bytes(b"\0\0\0\1")
    _hand_over(base)
    assert _shown(db, backend) == state
    for key, value in list(state.items())[:3]:
        assert (
            _tool(db, backend, "get", key.decode("latin-1")) == value + b"\n" or not key.isascii()
        )
    if backend == "skiplist":
        assert _tool(db, backend, "consistent") == b"Yes, consistent\n"


@pytest.mark.parametrize("seed", range(5))
def test_cyrus_repairs_a_skiplist_to_the_records_that_were_written(base: Path, seed: int) -> None:
    """Repairing replays the log, and without a stamp of the last start every open does it."""
    db = base / "quotas.db"
    writer = WRITERS["skiplist"](db)
    state = _history(writer, seed)
    writer.begin()
    writer.set(b"user.uncommitted", b"1 2")
    _hand_over(base)
    assert _shown(db, "skiplist") == state
    with cyrusdb.open(db) as repaired:
        assert dict(repaired) == state
