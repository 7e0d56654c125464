"""twom files with a history, with either checksum and with either kind of record."""

from __future__ import annotations

from functools import partial

from ..writers.twom import NULL, TwomWriter
from .linked_history import LinkedHistory


class TwomHistory(LinkedHistory):
    makers = (
        TwomWriter,
        partial(TwomWriter, seed=1, fat=True),
        partial(TwomWriter, seed=2, checksums=NULL),
    )


TestTwomHistory = TwomHistory.TestCase
