"""twoskip files with a history, by the writer that real Cyrus accepts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cyrusquota.cyrusdb

from ..writers.twoskip import TwoskipWriter
from .linked_history import LinkedHistory


class TwoskipHistory(LinkedHistory):
    makers = (
        TwoskipWriter,
        partial(TwoskipWriter, fillers=True),
        partial(TwoskipWriter, seed=1, mailbox_order=True),
    )


TestTwoskipHistory = TwoskipHistory.TestCase


def test_a_deletion_that_takes_all_sign_of_the_order_along(tmp_path: Path) -> None:
    """Of these two keys the last is one in byte order and the other in mailbox order."""
    for in_mailbox_order in (False, True):
        writer = TwoskipWriter(tmp_path / f"{in_mailbox_order}.db", mailbox_order=in_mailbox_order)
        for gone in (b"user.a-b", b"user.a.b"):
            writer.begin()
            writer.set(b"user.a-b", b"1 1")
            writer.set(b"user.a.b", b"2 1")
            writer.delete(gone)
            writer.commit()
            kept = {b"user.a-b": b"1 1", b"user.a.b": b"2 1"}
            del kept[gone]
            with cyrusquota.cyrusdb.open(writer.path) as database:
                assert dict(database) == kept
