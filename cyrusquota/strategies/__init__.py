"""Hypothesis strategies for Cyrus's quota data, to test other programs against it.

Each draws what Cyrus writes together with what it means, so that a test can compare. The data is
written by code of its own, not by the readers of this package. For example, to test a parser of
what `quota` of Cyrus 3.10 prints:

    >>> import io
    >>> import cyrusquota
    >>> from cyrusquota import strategies
    >>> from hypothesis import given
    >>> @given(strategies.reports("3.10"))
    ... def test_what_quota_prints_is_understood(report):
    ...     text, roots = report
    ...     assert list(cyrusquota.from_report(io.BytesIO(text)).roots()) == roots
    >>> test_what_quota_prints_is_understood()

`databases` gives whole files with their history: transactions, aborts, deletions and repacks.
Needs Hypothesis: pip install 'cyrusquota[testing]'. Nothing else in the package imports this.
"""

from __future__ import annotations

try:
    import hypothesis as _hypothesis  # noqa: F401 - only to say what is missing
except ImportError as error:
    raise ImportError(
        "cyrusquota.strategies needs Hypothesis: pip install 'cyrusquota[testing]'"
    ) from error

from cyrusquota.strategies._databases import BACKENDS, DatabaseFiles, databases
from cyrusquota.strategies._reports import DUMPS, REPORTS, dumps, reports
from cyrusquota.strategies._roots import names, quota_roots, records
from cyrusquota.strategies._values import GRAMMARS, bad_values, values

__all__ = [
    "BACKENDS",
    "DUMPS",
    "GRAMMARS",
    "REPORTS",
    "DatabaseFiles",
    "bad_values",
    "databases",
    "dumps",
    "names",
    "quota_roots",
    "records",
    "reports",
    "values",
]
