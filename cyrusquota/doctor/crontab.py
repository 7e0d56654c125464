"""Crontabs: the lines that run the export, and how long the map goes without being renewed.

crontab(5): five fields and a command, in the system's own crontabs a user before it; `@hourly` and
the like for the five; lines `NAME = value` set the environment, PATH among it.
"""

from __future__ import annotations

import re
from typing import Iterator, Optional

import attrs

#: What runs the export, however it was installed.
RUNS = re.compile(r"(?:^|[\s/'\"=])cyrusquota-export(?=$|[\s'\";|&>])")
#: The PATH that cron gives where the crontab sets none.
PATH = "/usr/bin:/bin"

_SETTING = re.compile(r"\s*(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*?)\s*")
_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@reboot": None,
}
_DAY = 24 * 60
_RANGE = re.compile(r"(?:\*|(?P<first>[0-9]+)(?:-(?P<last>[0-9]+))?)(?:/(?P<step>[0-9]+))?")


@attrs.frozen
class Line:
    """A line that runs the export: the command, the PATH it has, and the longest pause.

    `pause` is in seconds, None where the line does not run every day.
    """

    command: str
    path: str
    pause: Optional[int]


def lines(text: str, *, has_user: bool) -> Iterator[Line]:
    """The lines of a crontab that run the export; `has_user` for the system's own."""
    path = PATH
    for line in text.splitlines():
        setting = _SETTING.fullmatch(line)
        if setting is not None:
            path = setting["value"].strip("'\"") if setting["name"] == "PATH" else path
        elif RUNS.search(line) and not line.lstrip().startswith("#"):
            when, command = _parts(line.split(None, 1 if line.lstrip().startswith("@") else 5))
            if has_user:
                command = command.partition(" ")[2].strip()
            yield Line(command, path, _pause(when))


def _parts(words: list[str]) -> tuple[list[str], str]:
    if words[0].startswith("@"):
        return (_NAMED.get(words[0]) or "").split(), words[-1]
    return words[:5], words[-1]


def _pause(when: list[str]) -> Optional[int]:
    if len(when) != 5 or any(field not in ("*", "*/1") for field in when[2:]):
        return None
    minutes, hours = _numbers(when[0], 60), _numbers(when[1], 24)
    times = sorted(hour * 60 + minute for hour in hours for minute in minutes)
    if not times:
        return None
    return 60 * max(later - time for time, later in zip(times, [*times[1:], times[0] + _DAY]))


def _numbers(field: str, below: int) -> set[int]:
    """The numbers that a field of a crontab stands for."""
    numbers: set[int] = set()
    for part in field.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            return set()
        first = int(match["first"] or 0)
        step = int(match["step"] or 1) or 1
        last = below - 1 if match["first"] is None else int(match["last"] or first)
        numbers |= {number for number in range(first, last + 1, step) if number < below}
    return numbers
