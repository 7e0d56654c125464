"""Inputs made to take time or memory end soon, with the documented error, in little of either.

Each runs in a process of its own that may have 200 MB and five times the input, and would be
killed if it hung.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb.quotalegacy import inotify
from cyrusquota.cyrusdb.quotalegacy.follow import FollowedTree
from cyrusquota.cyrusdb.twom import layout as twom_layout
from cyrusquota.cyrusdb.twom.xxh3 import checksum
from cyrusquota.strategies.writers import Writer
from cyrusquota.strategies.writers.skiplist import SkiplistWriter
from cyrusquota.strategies.writers.twom import TwomWriter
from cyrusquota.strategies.writers.twoskip import TwoskipWriter
from tests.damaged_databases import with_header

MB = 1 << 20
SIZE = 30 * MB
#: Seconds that only a hang takes.
HANGS = 120

HEADER = b"   Quota   % Used     Used             Resource Root\n"
DB_DUMP = b"VERSION=3\nformat=%b\ntype=btree\nHEADER=END\n"

PROGRAM = "from cyrusquota.cli.export import main; main()"

Made = Callable[[Path], int]


def _export(directory: Path, size: int, *options: str) -> tuple[int, str]:
    """The status of an export, and what it said."""
    limit = 200 * MB + 5 * size

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *options],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        preexec_fn=limited,
        timeout=HANGS,
    )
    return done.returncode, done.stderr.decode()


#: Made when they are needed: all of them are hundreds of megabytes.
DLISTS: dict[str, Callable[[], bytes]] = {
    "one quoted string": lambda: b'%(S ("' + b"x" * SIZE,
    "one quoted string of escapes": lambda: b'%(S ("' + b"\\x" * (SIZE // 2),
    "parentheses within one another": lambda: b"%(S " + b"(" * SIZE,
    "lists within one another": lambda: b"%(S " + b"%(a " * (SIZE // 4),
    "empty lists": lambda: b"%(S (" + b"()" * (SIZE // 2),
    "atoms": lambda: b"%(S (" + b"1 " * (SIZE // 2),
    "numbers": lambda: b"1 " * (SIZE // 2),
    "one number": lambda: b"1" * SIZE,
    "zeros": lambda: b"%(S (" + b"0" * SIZE + b" 1))",
}


@pytest.mark.parametrize("name", DLISTS)
def test_one_value_of_megabytes(name: str, tmp_path: Path) -> None:
    """Beside a good record: the value is reported, and left out."""
    data = b"user.bob\t%(S (9999 1))\nuser.jane\t" + DLISTS[name]() + b"\n"
    (tmp_path / "quotas.db").write_bytes(data)
    status, said = _export(tmp_path, len(data), "--db", "quotas.db")
    assert status == 0
    assert "expected a value of at most" in said
    assert len(said) < 1000


#: Options, the content of the file `x`, and what is said of it.
TEXTS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a line of a dump": ("--dump", lambda: b"user.jane\t" + b"x" * SIZE, "lines of at most"),
    "base64": ("--dump", lambda: b"eHg=\t" + b"eHh4" * (SIZE // 4) + b"\n", "lines of at most"),
    "a key": ("--dump", lambda: b"k" * SIZE + b"\t1 1\n", "lines of at most"),
    "db_dump -p": ("--dump", lambda: DB_DUMP % b"print" + b" " + b"x" * SIZE, "lines of at most"),
    "db_dump": (
        "--dump",
        lambda: DB_DUMP % b"bytevalue" + b" " + b"41" * (SIZE // 2),
        "lines of at most",
    ),
    "escapes of db_dump": (
        "--dump",
        lambda: DB_DUMP % b"print" + b" " + b"\\41" * 10_000_000,
        "lines of",
    ),
    "a line of a report": ("--quota-output", lambda: HEADER + b" " * SIZE, "lines of at most"),
    "a header": ("--quota-output", lambda: b" Quota" + b" " * SIZE, "lines of at most"),
    "a JSON string": (
        "--quota-output",
        lambda: b'{"' + b"x" * SIZE + b'": {}}',
        "members of at most",
    ),
    "JSON lists": (
        "--quota-output",
        lambda: b'{"a": [' + b"[]," * (SIZE // 3),
        "members of at most",
    ),
    "JSON numbers": (
        "--quota-output",
        lambda: b'{"a": [' + b"1.5," * (SIZE // 4),
        "members of at most",
    ),
    "nested JSON": ("--quota-output", lambda: b'{"a": ' + b"[" * SIZE, "nested without end"),
    "JSON of nothing": ("--quota-output", lambda: b"{" + b" " * SIZE, "the JSON breaks off"),
    "lines of nothing": ("--quota-output", lambda: b"\n" * SIZE, "the header line"),
    "less JSON": ("--quota-output", lambda: b'{"a": [' + b"[]," * (4 * MB // 3), "breaks off"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_of_megabytes_in_one_piece(name: str, tmp_path: Path) -> None:
    option, made, expected = TEXTS[name]
    text = made()
    (tmp_path / "x").write_bytes(text)
    status, said = _export(tmp_path, len(text), option, "x")
    assert (status, said.count("\n")) == (65, 1)
    assert expected in said
    assert len(said) < 500


def test_a_list_of_mailboxes_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"user.jane\t0 default " + b"x" * SIZE)
    (tmp_path / "quotas").write_bytes(b"user.jane\t%(S (9999 1))\n")
    status, said = _export(tmp_path, SIZE, "--db", "quotas", "--mailboxes", "list")
    assert status == 65
    assert "lines of at most" in said
    assert len(said) < 500


@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
def test_a_sqlite_table_that_calculates_what_it_holds(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    calculated = f"data TEXT GENERATED ALWAYS AS (printf('%.*c', number, 'x')) {kind}"
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        made.execute(f"CREATE TABLE quotas_db (dbkey TEXT, number INT, {calculated})")
        number = 100 if kind == "STORED" else 900_000_000
        made.execute("INSERT INTO quotas_db (dbkey, number) VALUES ('user.jane', ?)", (number,))
    status, said = _export(tmp_path, path.stat().st_size, "--db", "quotas.db")
    assert (status, said.count("\n")) == (65, 1)
    assert "columns are stored, not calculated" in said


# Databases

SPARSE = 8 << 30
WRITERS: dict[str, Callable[[Path], Writer]] = {
    "skiplist": SkiplistWriter,
    "twom": TwomWriter,
    "twoskip": TwoskipWriter,
}


def _sparse(backend: str, path: Path) -> None:
    """A file of 8 GiB under a sound header that says so, with next to nothing on the disk."""
    if backend != "flat":
        writer = WRITERS[backend](path)
        writer.begin()
        writer.set(b"user.jane", b"9999 1")
        writer.commit()
    content = bytearray(path.read_bytes() if path.exists() else b"user.jane\t9999 1\n")
    if backend == "twoskip":
        content = bytearray(with_header(bytes(content), size=SPARSE))
    elif backend == "twom":
        struct.pack_into("<Q", content, twom_layout.CURRENT_SIZE_AT, SPARSE)
        at = twom_layout.CHECKSUM_AT
        struct.pack_into("<I", content, at, checksum(bytes(content[:at])))
    path.write_bytes(content)
    os.truncate(path, SPARSE)


@pytest.mark.parametrize("backend", ["flat", *WRITERS])
def test_a_database_that_is_mostly_a_hole(backend: str, tmp_path: Path) -> None:
    _sparse(backend, tmp_path / "quotas.db")
    status, said = _export(tmp_path, 0, "--db", "quotas.db")
    assert (status, said.count("\n")) == (65, 1)
    # Of a flat file it is said that it looks like a dump.
    assert backend == "flat" or f"expected {SPARSE} bytes, of which " in said


def _tree(directory: Path) -> Path:
    """A tree with the root of a user who is over; where another one belongs."""
    files = directory / "quota" / "j"
    files.mkdir(parents=True)
    (files / "user.jane").write_text("9999\n1\n")
    return files / "user.joe"


def _hole(path: Path) -> None:
    path.write_bytes(b"1\n1\n")
    os.truncate(path, SPARSE)


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a readable file (a device)"),
    "a pipe": (os.mkfifo, "a readable file (a pipe)"),
    "a hole": (_hole, f"expected {SPARSE} bytes, of which "),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_of_a_tree_that_has_no_end(name: str, tmp_path: Path) -> None:
    """It is reported, and all others are read."""
    make, expected = UNREADABLE[name]
    make(_tree(tmp_path))
    status, said = _export(tmp_path, 0, "--db", ".", "-o", "map")
    assert (status, said.count("\n")) == (0, 1)
    assert expected in said
    assert (tmp_path / "map").read_text().splitlines()[-1].startswith("jane:")


@pytest.mark.parametrize("option", ["--db", "--mailboxes"])
@pytest.mark.parametrize("kind", ["/dev/zero", "pipe", "link to a pipe"])
def test_a_database_that_is_no_file(option: str, kind: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link to a pipe").symlink_to("pipe")
    (tmp_path / "flat").write_bytes(b"user.jane\t9999 1\n")
    more = ("--db", "flat") if option == "--mailboxes" else ()
    status, said = _export(tmp_path, 0, option, kind, *more)
    assert (status, said.count("\n")) == (74, 1)
    assert f"{kind}: expected a regular file, found a " in said


def test_following_goes_on_once_a_pipe_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify, "opened", lambda: None)
    path = _tree(tmp_path)
    with FollowedTree(tmp_path) as followed:
        with cyrusdb.open(tmp_path) as database:
            assert dict(database) == {b"user.jane": b"9999 1"}
            followed.begin(database.snapshot())
        os.mkfifo(path)
        assert not followed.changes().is_complete
        path.unlink()
        path.write_text("1\n1\n")
        assert followed.changes().by_key[b"user.joe"] == b"1 1"


@pytest.mark.parametrize("option", ["--dump", "--quota-output", "-C"])
def test_a_device_without_an_end(option: str, tmp_path: Path) -> None:
    status, said = _export(tmp_path, 0, option, "/dev/zero")
    assert status == (78 if option == "-C" else 65)
    assert "/dev/zero" in said
    assert len(said) < 500


def _nested(directory: Path) -> int:
    for number in range(700):
        (directory / f"{number}.conf").write_text(f"@include: {number + 1}.conf\n")
    (directory / "imapd.conf").write_text("configdirectory: /x\n@include: 0.conf\n")
    return 0


def _spellings(directory: Path) -> int:
    big = "".join(f"option{number}: x\n" for number in range(14_000))
    (directory / "big.conf").write_text(big)
    lines = (f"@include: {'./' * number}big.conf\n" for number in range(200))
    (directory / "imapd.conf").write_text("configdirectory: /x\n" + "".join(lines))
    return len(big)


def _value(directory: Path) -> int:
    text = "configdirectory: /x\nquota_db: " + "x" * 10 * MB
    (directory / "imapd.conf").write_text(text)
    return len(text)


@pytest.mark.parametrize("make", [_nested, _spellings, _value])
def test_an_imapd_conf_that_would_not_end(make: Made, tmp_path: Path) -> None:
    size = make(tmp_path)
    status, said = _export(tmp_path, size, "-C", "imapd.conf")
    assert (status, said.count("\n")) == (78, 1)
    assert "expected at most" in said
    assert len(said) < 500


def test_a_fifo_is_no_imapd_conf(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert _export(tmp_path, 0, "-C", "fifo")[0] == 78


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--dump", b"user.jane\t%(S (9999 1))\n"),
        (
            "--quota-output",
            b'{"user.jane": {"STORAGE": {"used": 9999, "limit": 1024}}}\n',
        ),
    ],
)
def test_a_report_or_a_dump_on_a_pipe_is_read(option: str, text: bytes, tmp_path: Path) -> None:
    """As `<(quota)` gives it."""
    (tmp_path / "text").write_bytes(text)
    done = subprocess.run(
        ["sh", "-c", f"cat text | {sys.executable} -c '{PROGRAM}' {option} /dev/stdin"],
        cwd=tmp_path,
        capture_output=True,
        timeout=HANGS,
    )
    assert done.stdout.splitlines()[-1].startswith(b"jane:")
    assert done.stderr == b""
