"""Files by the twoskip writer of the tests hold against real Cyrus: it is a fair stand-in."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

import cyrusquota.cyrusdb
from cyrusquota.strategies.writers.twoskip import TwoskipWriter

from .cyrus import PROGRAMS, Cyrus

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("needs_cyrus")]

PATIENCE = 60
KEYS = [b"user.%s%d" % (name, number) for name in (b"a", b"ab", b"b.c") for number in range(8)]
KEYS += [b"example.org!user.max", b"user.caf\xc3\xa9", b"k" * 70000]
#: The two orders disagree about these.
KEYS += [b"user.a-b", b"user.a.b", b"user.a b", b"user.a!b", b"user.a"]


@pytest.fixture
def cyrus() -> Iterator[Cyrus]:
    with Cyrus() as tools:
        yield tools


def tool(cyrus: Cyrus, database: Path, action: str, *options: str) -> bytes:
    """What `cyr_dbtool` prints, once it has been content."""
    shutil.chown(database, "cyrus", "mail")
    program = [str(PROGRAMS / "cyr_dbtool"), "-C", str(cyrus.conf), *options]
    command = [*program, str(database), "twoskip", action]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def shown(cyrus: Cyrus, database: Path, *options: str) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for row in tool(cyrus, database, "show", *options).splitlines():
        key, _, value = row.partition(b"\t")
        found[key] = value
    return found


@pytest.mark.parametrize("mailbox_order", [False, True], ids=["byte order", "mailbox order"])
@pytest.mark.parametrize("fillers", [False, True], ids=["packed", "fillers"])
def test_cyrus_reads_what_the_writer_wrote(
    cyrus: Cyrus, fillers: bool, mailbox_order: bool
) -> None:
    database, chance = cyrus.lib / "quotas.db", random.Random(1)
    options = ["-M"] if mailbox_order else []
    writer = TwoskipWriter(database, fillers=fillers, mailbox_order=mailbox_order)
    state: dict[bytes, bytes] = {}
    for step in range(15):
        writer.begin()
        new = dict(state)
        for _ in range(chance.randrange(8)):
            key, value = chance.choice(KEYS), b"%%(S (%d 10) M (0))" % chance.randrange(1 << 40)
            if chance.random() < 0.4:
                writer.delete(key)
                new.pop(key, None)
            else:
                writer.set(key, value)
                new[key] = value
        if step % 4 == 2:
            writer.abort()
        else:
            writer.commit()
            state = new
        if step == 10:
            writer.repack()
        with cyrusquota.cyrusdb.open(database) as ours:
            assert dict(ours) == state
        # Cyrus repairs what an abort left, so it gets a copy.
        copy = cyrus.lib / f"copy{step}.db"
        shutil.copy(database, copy)
        assert shown(cyrus, copy, *options) == state
        assert tool(cyrus, copy, "consistent", *options) == b"Yes, consistent\n"
