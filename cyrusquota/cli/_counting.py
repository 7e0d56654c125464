"""Quota roots with the figures that Cyrus goes by."""

from __future__ import annotations

from cyrusquota.cli._source import Chosen
from cyrusquota.errors import CyrusQuotaError, OnProblem
from cyrusquota.overquota import enforced
from cyrusquota.quota import QuotaRoot


def counting(root: QuotaRoot, chosen: Chosen, on_problem: OnProblem) -> QuotaRoot:
    """`root` with conversations totals where they count, as far as they can be read."""
    if chosen.server is None:
        return root
    try:
        return enforced(root, chosen.server, on_problem)
    except CyrusQuotaError as error:
        on_problem(error)
        return root
