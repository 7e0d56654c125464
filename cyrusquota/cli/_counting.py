"""Quota roots with the figures that Cyrus goes by."""

from __future__ import annotations

from typing import Optional

import attrs

from cyrusquota.cli._source import Chosen
from cyrusquota.errors import CyrusQuotaError, OnProblem
from cyrusquota.quota import QuotaRoot
from cyrusquota.verdicts.evaluator import enforced
from cyrusquota.verdicts.summary import Summary


def counting(root: QuotaRoot, chosen: Chosen, on_problem: OnProblem) -> QuotaRoot:
    """`root` with conversations totals where they count, as far as they can be read."""
    if chosen.site is None:
        return root
    try:
        return enforced(root, chosen.site, on_problem)
    except CyrusQuotaError as error:
        on_problem(error)
        return root


@attrs.define
class Seen:
    """The quota roots of one reading, with the figures that Cyrus goes by where they can be read.

    `by_root` has each root by its name where that was asked for; memory grows with them then.
    """

    chosen: Chosen
    summary: Summary
    by_root: Optional[dict[str, QuotaRoot]] = None

    def __call__(self, root: QuotaRoot) -> None:
        """Take in one more root."""
        # What cannot be read here keeps the verdict from being known, which tells of it.
        counted = counting(root, self.chosen, lambda problem: None)
        self.summary.add(counted)
        if self.by_root is not None:
            self.by_root[root.name] = counted
