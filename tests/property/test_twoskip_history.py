"""twoskip files with a history, by the writer that real Cyrus accepts."""

from __future__ import annotations

from functools import partial

from ..writers.twoskip import TwoskipWriter
from .linked_history import LinkedHistory


class TwoskipHistory(LinkedHistory):
    makers = (
        TwoskipWriter,
        partial(TwoskipWriter, fillers=True),
        partial(TwoskipWriter, seed=1, mailbox_order=True),
    )


TestTwoskipHistory = TwoskipHistory.TestCase
