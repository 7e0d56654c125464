"""Trees by the quotalegacy writer of the tests are where Cyrus looks, and say what was written."""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import product

import pytest

from cyrusquota.cyrusdb.quotalegacy.reader import QuotaTree
from cyrusquota.errors import raise_problem
from cyrusquota.strategies.writers.quotalegacy import QuotalegacyWriter

from .cyrus import PROGRAMS, Cyrus

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("needs_cyrus")]

PATIENCE = 60
ROOTS = [b"user.jane", b"user.bob.archive", b"user.123", b"user.UpperCase", b"shared.news", b"news"]
ROOTS += [b"user.caf\xc3\xa9", b"example.org!user.max", b"example.org!shared.a b", b"example.org!"]


@pytest.mark.parametrize(("fulldirhash", "virtdomains"), [*product([False, True], repeat=2)])
def test_cyrus_reads_what_the_writer_wrote(fulldirhash: bool, virtdomains: bool) -> None:
    options = {
        "fulldirhash": "yes" if fulldirhash else "no",
        "virtdomains": "userid" if virtdomains else "off",
    }
    with Cyrus(options) as cyrus:
        writer = QuotalegacyWriter(cyrus.lib, fulldirhash=fulldirhash, virtdomains=virtdomains)
        state: dict[bytes, bytes] = {}
        # A whole domain has a root of its own only with virtual domains.
        for number, root in enumerate(ROOTS if virtdomains else ROOTS[:-1]):
            state[root] = b"%%(S (%d 10))" % number if number % 2 else b"%d 10" % number
        for values in (dict.fromkeys(state, b"1 1"), state):
            writer.begin()
            for root, value in values.items():
                writer.set(root, value)
            writer.commit()
        writer.begin()
        writer.delete(b"user.123")
        writer.commit()
        del state[b"user.123"]
        for path in cyrus.lib.rglob("*"):
            shutil.chown(path, "cyrus", "mail")
        program = [str(PROGRAMS / "cyr_dbtool"), "-C", str(cyrus.conf)]
        for root, value in state.items():
            get = [str(cyrus.lib / "quotas.db"), "quotalegacy", "get", os.fsdecode(root)]
            done = subprocess.run([*program, *get], capture_output=True, timeout=PATIENCE)
            assert (done.returncode, done.stdout) == (0, value + b"\n")
        tree = QuotaTree(cyrus.lib, raise_problem, fulldirhash=fulldirhash, virtdomains=virtdomains)
        assert dict(tree) == state
        writer.begin()
        writer.set(b"user.new", b"5 5")
        writer.set(b"user.jane", b"5 5")
        writer.abort()
        tree = QuotaTree(cyrus.lib, raise_problem, fulldirhash=fulldirhash, virtdomains=virtdomains)
        assert dict(tree) == state
