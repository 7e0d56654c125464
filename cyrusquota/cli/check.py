"""cyrusquota check: a plugin for Nagios, Icinga and whatever else runs such plugins."""

from __future__ import annotations

import functools
from typing import Iterator, Mapping, Optional

import attrs
import click

from cyrusquota.cli._command import Example, Heading, under
from cyrusquota.cli._complete import file_names
from cyrusquota.cli._plugin import Plugin, tell
from cyrusquota.cli._reading import Reading, read
from cyrusquota.cli._source import Chosen, RawOptions, source_options
from cyrusquota.errors import NoSuchMap, OptionError, printable
from cyrusquota.maps.installed import DEFAULT_MAX_AGE, DEFAULT_PATH, InstalledMap, installed_map
from cyrusquota.monitoring.nagios import Figure, Range, State, Thresholds
from cyrusquota.verdicts.policies import Reserve

#: What can be given a range, with the unit it has.
_MEASURES = {
    "over": "",
    "over_percent": "%",
    "near": "",
    "map_age": "s",
    "map_entries": "",
    "problems": "",
}
_OF_MAP = ("map_age", "map_entries")
_WARNING = {"problems": Range.of("0")}
_CRITICAL = {"map_age": Range.of(str(DEFAULT_MAX_AGE))}


_alerts = under(Heading.ALERTS)


@click.command(
    "check",
    cls=Plugin,
    examples=(
        Example("Warn if more than ten users are over quota", "cyrusquota check -w 10"),
        Example(
            "Warn if more than five users are nearly full, too",
            "cyrusquota check -w 10 --reserve 5% -w near=5",
        ),
        Example(
            "Alert if the map is older than ten minutes",
            "cyrusquota check --map /var/lib/cyrusquota/overquota -c map_age=600",
        ),
    ),
)
@functools.partial(source_options, is_quiet=True)
@under(Heading.MAP)(
    "--map",
    "map_path",
    metavar="FILE",
    shell_complete=file_names,
    help=f"The map to check; a missing one is critical.  [default: {DEFAULT_PATH}, if it is there]",
)
@_alerts(
    "-w",
    "--warning",
    metavar="[MEASURE=]RANGE",
    multiple=True,
    help="WARNING if MEASURE, or over if none is named, is outside RANGE (repeatable). 10 means 0"
    " to 10; 10: means 10 or more; ~:10 means 10 or less; 10:20 means 10 to 20; @10:20 means"
    " anything but 10 to 20; ~: means any value.  [default: problems=0]",
)
@_alerts(
    "-c",
    "--critical",
    metavar="[MEASURE=]RANGE",
    multiple=True,
    help="CRITICAL if MEASURE is outside RANGE; CRITICAL wins over WARNING (repeatable)."
    f"  [default: map_age={DEFAULT_MAX_AGE}]",
)
def check(
    raw: RawOptions, map_path: Optional[str], warning: tuple[str, ...], critical: tuple[str, ...]
) -> int:
    """Check quotas and map, as a plugin for Nagios or Icinga.

    Print one line and exit with 0 (OK), 1 (WARNING), 2 (CRITICAL) or 3 (UNKNOWN: something could
    not be measured, or wrong usage). The measures are:

    \b
    over          users whose mail Cyrus would refuse
    over_percent  the same, as a percentage of all users
    near          users with less than --reserve left
    map_age       seconds since the map was written or confirmed
    map_entries   users in the map
    problems      problems met while reading, mostly unreadable records
    """
    warnings, criticals = _ranges("-w", warning), _ranges("-c", critical)
    asked = warnings.keys() | criticals.keys()
    if "near" in asked and raw.reserve == Reserve():
        raise OptionError("the measure near needs --reserve, which says what is near")
    chosen = raw.load()
    answer = _Answer(chosen, read(chosen), _limits(warnings, criticals))
    is_wanted = map_path is not None or not asked.isdisjoint(_OF_MAP)
    answer.see_map(DEFAULT_PATH if map_path is None else map_path, is_wanted=is_wanted)
    return answer.tell()


@attrs.define
class _Answer:
    """What was measured, and how it is put."""

    chosen: Chosen
    reading: Reading
    limits: Mapping[str, Thresholds]
    _map: Optional[InstalledMap] = None
    _missing: str = ""

    def see_map(self, path: str, *, is_wanted: bool) -> None:
        """Take in the map at `path`. Raises `MapError` for one that cannot be read."""
        try:
            self._map = installed_map(path)
        except NoSuchMap as error:
            self._missing = str(error) if is_wanted else ""

    def tell(self) -> int:
        """Print the line; the exit status for it."""
        measured = dict(self._measured())
        states = [self.limits[name].state(value) for name, value in measured.items()]
        figures = [self._figure(name, value) for name, value in measured.items()]
        if self._missing:
            states.append(State.CRITICAL)
            figures += [self._figure(name, None) for name in _OF_MAP]
        return tell(max(states), ", ".join(self._parts(measured)), figures)

    def _measured(self) -> Iterator[tuple[str, float]]:
        reading = self.reading
        yield "over", reading.refused
        yield "over_percent", 100 * reading.refused / reading.users if reading.users else 0.0
        if self.chosen.reserve != Reserve():
            yield "near", reading.near
        if self._map is not None:
            yield "map_age", int(self._map.age())
            yield "map_entries", self._map.entries
        yield "problems", self.chosen.problems.count

    def _parts(self, measured: Mapping[str, float]) -> Iterator[str]:
        percent = f"({measured['over_percent']:.2f}%)"
        users = "1 user" if self.reading.users == 1 else f"{self.reading.users} users"
        text = f"{measured['over']} of {users} over quota {percent}"
        yield text + self._reasons(measured, "over", "over_percent")
        if "near" in measured:
            yield f"{measured['near']} near it" + self._reasons(measured, "near")
        if self._missing:
            yield f"critical: {self._missing}"
        age = measured.get("map_age")
        if age is not None:
            yield f"map {_duration(int(age))} old" + self._reasons(measured, "map_age")
            reasons = self._reasons(measured, "map_entries")
            if reasons:
                yield f"entries in the map: {measured['map_entries']}{reasons}"
        problems, reasons = measured["problems"], self._reasons(measured, "problems")
        if problems:
            count = "1 problem" if problems == 1 else f"{problems} problems, the first"
            yield f"{count}{reasons}: {self.chosen.problems.first}"
        elif reasons:
            yield f"no problems{reasons}"

    def _reasons(self, measured: Mapping[str, float], *names: str) -> str:
        found = (self.limits[name].reason(name, measured[name]) for name in names)
        reasons = list(filter(None, found))
        return f" [{', '.join(reasons)}]" if reasons else ""

    def _figure(self, name: str, value: Optional[float]) -> Figure:
        most = {"over": self.reading.users, "near": self.reading.users, "over_percent": 100}
        least = None if name == "map_age" else 0
        return Figure(name, value, _MEASURES[name], self.limits[name], least, most.get(name))


def _ranges(option: str, given: tuple[str, ...]) -> dict[str, Range]:
    ranges = {}
    for text in given:
        name, _, span = text.rpartition("=")
        if (name or "over") not in _MEASURES:
            names = ", ".join(_MEASURES)
            raise OptionError(f"{option}: unknown measure {printable(name)!r}; choose from {names}")
        try:
            ranges[name or "over"] = Range.of(span)
        except OptionError as error:
            raise OptionError(f"{option} {printable(text)}: {error}") from None
    return ranges


def _limits(warnings: Mapping[str, Range], criticals: Mapping[str, Range]) -> dict[str, Thresholds]:
    """What every measure may be: what was asked for, or the default."""
    warnings = {**_WARNING, **warnings}
    criticals = {**_CRITICAL, **criticals}
    return {name: Thresholds(warnings.get(name), criticals.get(name)) for name in _MEASURES}


_LONG = ((172_800, 86_400, "days"), (7200, 3600, "h"), (120, 60, "min"))


def _duration(seconds: int) -> str:
    for begin, unit, name in _LONG:
        if seconds >= begin:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"
