"""Every way of making the commands fail that docs/errors.md tells of.

An error that is new in the package needs a provocation here; a test names those that have none.
"""

from __future__ import annotations

import functools

from papers.provocations import configuration, data, options, places, questions, records, sources
from papers.provocations._provocation import Heard, Provocation

__all__ = ["PROVOCATIONS", "UNPROVOKED", "Heard", "Provocation", "heard"]

PROVOCATIONS: tuple[Provocation, ...] = (
    *options.PROVOCATIONS,
    *configuration.PROVOCATIONS,
    *sources.PROVOCATIONS,
    *data.PROVOCATIONS,
    *records.PROVOCATIONS,
    *places.PROVOCATIONS,
    *questions.PROVOCATIONS,
)

#: Sites that no command line leads to, and why.
UNPROVOKED: dict[str, str] = {
    "maps/installed.py: _read (4)": "a NUL byte, which no argument of a command can have",
    "cyrusdb/skiplist/reader.py: Skiplist._report_doubts": "like a bad checksum of twoskip",
    "cyrusdb/sql.py: Sql._read": "like `a sound SQLite file`; Python 3.9 and 3.11 come to either",
    "cyrusdb/sql.py: Sql._rows (2)": "like `a sound SQLite file`; takes pages in a circle",
}


@functools.cache
def heard() -> tuple[tuple[Provocation, Heard], ...]:
    """What comes of each."""
    return tuple((provocation, provocation.heard()) for provocation in PROVOCATIONS)
