"""Errors of the commands for people and monitoring."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from typing import ContextManager
from unittest import mock

from click.exceptions import BadParameter

from cyrusquota.errors import (
    CannotCreateMap,
    DataError,
    EximError,
    ForeignMap,
    MapError,
    MapForbidden,
    NoSuchMap,
    NoSuchUser,
    OptionError,
)
from tests.error_cases.case import ErrorCase, as_nobody, failing

_FULL = {"dump": b"user.jane\t2000 1\n"}
_MAP = {**_FULL, "map": b"jane: :defer: mine\n"}
_OURS = {**_FULL, "map": b"# Written by cyrusquota-export 1; x\n# entries: 0\n"}
_CHECK = "cyrusquota check --dump dump --map map"


def _script(name: str, text: str) -> ContextManager[object]:
    with open(name, "w") as file:
        file.write(text)
    os.chmod(name, 0o755)
    return contextlib.nullcontext()


def _slow() -> ContextManager[object]:
    return mock.patch(
        "cyrusquota.mta.exim.subprocess.run", side_effect=subprocess.TimeoutExpired("exim", 1)
    )


def _closed() -> ContextManager[object]:
    os.chmod("map", 0)
    return as_nobody()


CASES = (
    ErrorCase(
        "a bad percentage",
        OptionError,
        "cyrusquota list --dump - --near lots",
    ),
    ErrorCase(
        "a fraction for a percentage",
        OptionError,
        "cyrusquota list --dump - --near 0.9",
    ),
    ErrorCase(
        "no directory for the report",
        CannotCreateMap,
        "cyrusquota report --dump - --html gone/page.html",
    ),
    ErrorCase(
        "no readable record for the check",
        DataError,
        "cyrusquota check --dump dump",
        files={"dump": b"user.jane\tx\n"},
    ),
    ErrorCase(
        "a bad file mode for the report",
        BadParameter,
        "cyrusquota report --dump - --html page.html --mode rw",
    ),
    ErrorCase(
        "--no-exim with --exim",
        OptionError,
        "cyrusquota explain --dump dump --no-exim --exim exim jane",
        files=_FULL,
    ),
    ErrorCase(
        "a user name that cannot be read",
        OptionError,
        "cyrusquota explain --dump dump --no-exim @",
        files=_FULL,
    ),
    ErrorCase(
        "a user who does not exist",
        NoSuchUser,
        "cyrusquota explain --dump dump --no-exim jame",
        files=_FULL,
    ),
    ErrorCase(
        "no Exim program",
        EximError,
        "cyrusquota explain --dump dump --map map --exim ./exim jane",
        within="./exim",
        files=_OURS,
    ),
    ErrorCase(
        "Exim refuses to answer",
        EximError,
        "cyrusquota explain --dump dump --map map --exim ./exim jane",
        within="./exim",
        files=_OURS,
        meanwhile=lambda: _script("exim", "#!/bin/sh\necho no luck >&2\nexit 1\n"),
    ),
    ErrorCase(
        "Exim does not answer in time",
        EximError,
        "cyrusquota explain --dump dump --map map --exim ./exim jane",
        within="./exim",
        files=_OURS,
        meanwhile=_slow,
    ),
    ErrorCase(
        "the measure near without --reserve",
        OptionError,
        "cyrusquota check --dump dump -w near=1",
        files=_FULL,
    ),
    ErrorCase(
        "a measure of the map without one",
        OptionError,
        "cyrusquota check --dump dump --no-map -w map_age=60",
        files=_FULL,
    ),
    ErrorCase(
        "a measure that does not exist",
        OptionError,
        "cyrusquota check --dump dump -w speed=1",
        files=_FULL,
    ),
    ErrorCase(
        "a bad range",
        OptionError,
        "cyrusquota check --dump dump -w lots",
        files=_FULL,
    ),
    ErrorCase(
        "a range with the larger end first",
        OptionError,
        "cyrusquota check --dump dump -w 20:10",
        files=_FULL,
    ),
    ErrorCase(
        "a foreign file checked as the map",
        ForeignMap,
        _CHECK,
        files=_MAP,
    ),
    ErrorCase(
        "an empty file for a map to explain",
        NoSuchMap,
        "cyrusquota explain --dump dump --no-exim --map map jane",
        within="is empty",
        files={**_FULL, "map": b""},
    ),
    ErrorCase(
        "a directory checked as the map",
        ForeignMap,
        _CHECK,
        files={**_FULL, "map": None},
    ),
    ErrorCase(
        "no map to explain",
        NoSuchMap,
        "cyrusquota explain --dump dump --no-exim --map map jane",
        within="there is no map",
        files=_FULL,
    ),
    ErrorCase(
        "a map without read permission",
        MapForbidden,
        _CHECK,
        files=_MAP,
        meanwhile=_closed,
    ),
    ErrorCase(
        "a read error on the map",
        MapError,
        _CHECK,
        files=_MAP,
        meanwhile=failing("cyrusquota.maps.installed._must_be_plain", errno.EIO),
    ),
)
