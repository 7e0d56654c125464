"""Command lines that end in an error, or report a problem: one for each place that makes an error.

`tests/unit/test_error_cases.py` fails when a new place has none. docs/errors.md may only quote a
message that one of these cases brings about.
"""

from __future__ import annotations

import functools

from tests.error_cases import (
    configuration,
    data,
    letters,
    map_file,
    options,
    other_commands,
    records,
    settings_file,
    several_hosts,
    sources,
)
from tests.error_cases.case import ErrorCase, ErrorResult

__all__ = ["CASES", "UNREACHABLE", "ErrorCase", "ErrorResult", "results"]

CASES: tuple[ErrorCase, ...] = (
    *options.CASES,
    *configuration.CASES,
    *sources.CASES,
    *data.CASES,
    *records.CASES,
    *map_file.CASES,
    *other_commands.CASES,
    *settings_file.CASES,
    *several_hosts.CASES,
    *letters.CASES,
)

#: Places that no command line reaches, and why.
UNREACHABLE: dict[str, str] = {
    "engine/protocol.py: gone": "like `a store that is not there`; only a mirror meets it",
    "engine/redis.py: RedisEngine.read (2)": "half a million entries: see tests/unit",
    "engine/redis_errors.py: _tls_error": "a wrong certificate: see tests/integration",
    "cli/options.py: _stream": "standard input that is closed: see tests/unit/test_cli.py",
    "maps/installed.py: _read (4)": "a NUL byte, which no argument of a command can have",
    "cyrusdb/skiplist/reader.py: Skiplist._report_doubts": "like a bad checksum of twoskip",
    "cyrusdb/sql.py: Sql._read": "like `a sound SQLite file`; Python 3.9 and 3.11 come to either",
    "cyrusdb/sql.py: Sql._rows (3)": "like `a sound SQLite file`; takes pages in a circle",
}


@functools.cache
def results() -> tuple[tuple[ErrorCase, ErrorResult], ...]:
    """Run every case once, and return each with its result."""
    return tuple((case, case.run()) for case in CASES)
