"""cyrusquota check: a monitoring plugin for Nagios, Icinga and others that run such plugins."""

from __future__ import annotations

import functools
import sys
from typing import Any, Iterable, Iterator, Mapping, Optional

import attrs
import click

from cyrusquota.cli.command import Command, Example, Heading, arguments, under
from cyrusquota.cli.engine_options import mirrored
from cyrusquota.cli.json_format import format_option, json_text
from cyrusquota.cli.map_options import MapOptions, comparison_options
from cyrusquota.cli.option_types import file_names
from cyrusquota.cli.options import Options, RawOptions, source_options
from cyrusquota.cli.scan import ScanResult, scan
from cyrusquota.errors import CyrusQuotaError, NoSuchMap, OptionError, count_of, printable
from cyrusquota.maps.installed import DEFAULT_MAX_AGE, DEFAULT_PATH, InstalledMap, installed_map
from cyrusquota.monitoring.nagios import (
    PerformanceData,
    PluginStatus,
    Range,
    Thresholds,
    alert_reasons,
    line,
)
from cyrusquota.publish.guard import Rejection
from cyrusquota.verdicts.policies import Reserve

_NAME = "CYRUSQUOTA"
#: What can be given a range, with its unit.
MEASURES = {
    "over": "",
    "over_percent": "%",
    "near": "",
    "map_age": "s",
    "map_entries": "",
    "held_back": "",
    "problems": "",
    "stores": "",
    "stores_missing": "",
    "stores_doubted": "",
    "claimed_twice": "",
    "without_domain": "",
}
_MAP_MEASURES = ("map_age", "map_entries", "held_back")
_STORE_MEASURES = (
    "stores",
    "stores_missing",
    "stores_doubted",
    "claimed_twice",
    "without_domain",
)
#: Those of --mirror.
MIRROR_MEASURES = ("map_age", "map_entries", *_STORE_MEASURES)
_DEFAULT_WARNINGS = {"problems": Range.of("0"), "held_back": Range.of("0")}
_DEFAULT_CRITICALS = {"map_age": Range.of(str(DEFAULT_MAX_AGE))}


class Plugin(Command):
    """A command that prints one line and exits with 0 to 3, whatever happens.

    What ends any other command with an error makes this one UNKNOWN. Standard error stays empty:
    Icinga takes what is written there as a part of the answer.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:
            ctx.exit(_unknown(ctx, f"{error.format_message()} See `{ctx.command_path} --help`"))
        except CyrusQuotaError as error:
            ctx.exit(_unknown(ctx, str(error)))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.exceptions.Exit:
            raise
        except click.ClickException as error:
            return _unknown(ctx, error.format_message())
        except (CyrusQuotaError, OSError) as error:
            return _unknown(ctx, str(error))
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            return _unknown(ctx, f"internal error, please report it: {what}")


def answer(state: PluginStatus, text: str, figures: Iterable[PerformanceData], form: str) -> int:
    """Print what the plugin has to say, as text or as JSON, and return the exit status."""
    is_json = form == "json"
    printed = _as_json(state, text, figures) if is_json else line(_NAME, state, text, figures)
    try:
        sys.stdout.write(f"{printed}\n")
        sys.stdout.flush()
    except OSError:
        # Keeps Python from another attempt at exit.
        sys.stdout = None
        return PluginStatus.UNKNOWN
    return int(state)


def _unknown(context: click.Context, text: str) -> int:
    """Print why nothing could be measured, in the form that was asked for."""
    # After a mistake on the command line, click may know nothing of it.
    words = arguments(context)
    asked = "--format=json" in words or ("--format", "json") in zip(words, words[1:])
    form = context.params.get("form", "json" if asked else "text")
    return answer(PluginStatus.UNKNOWN, text, (), form)


def _as_json(state: PluginStatus, text: str, figures: Iterable[PerformanceData]) -> str:
    measures = {
        one.label: {
            "value": one.value,
            "unit": one.unit,
            "warning": None if one.thresholds.warning is None else one.thresholds.warning.text,
            "critical": None if one.thresholds.critical is None else one.thresholds.critical.text,
        }
        for one in figures
    }
    return json_text({"status": state.name, "text": text, "measures": measures})


_alerts, _map = under(Heading.ALERTS), under(Heading.MAP)


def _ranges(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, Range]:
    """Return the range that an option gives each measure; raise `OptionError` for no range."""
    option, ranges = parameter.opts[0], {}
    for text in given:
        name, _, span = text.rpartition("=")
        if (name or "over") not in MEASURES:
            names = ", ".join(MEASURES)
            raise OptionError(f"{option}: unknown measure {printable(name)!r}; choose from {names}")
        try:
            ranges[name or "over"] = Range.of(span)
        except OptionError as error:
            raise OptionError(f"{option} {printable(text)}: {error}") from None
    return ranges


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
            "Alert if the map is older than ten minutes, or held back",
            "cyrusquota check -c map_age=600 -c held_back=0",
        ),
    ),
)
@functools.partial(source_options, is_quiet=True)
@_map(
    "--map",
    "map_path",
    metavar="FILE",
    shell_complete=file_names,
    default=DEFAULT_PATH,
    show_default=True,
    help="The map to check; a missing one is critical. To know whether the guard of"
    " cyrusquota-export would hold back the next one, give this command the same source, --reserve,"
    " and the four options --key to --max-change as the export.",
)
@_map(
    "--no-map",
    is_flag=True,
    help="Check no map: there is none on this host.",
)
@comparison_options
@_map(
    "--mirror",
    is_flag=True,
    help="Check the map of cyrusquota-mirror, and the stores it comes from, instead of quotas; for"
    " an MX without Cyrus.",
)
@_alerts(
    "-w",
    "--warning",
    "warnings",
    metavar="[MEASURE=]RANGE",
    multiple=True,
    callback=_ranges,
    help="WARNING if MEASURE, or over if none is named, is outside RANGE (repeatable). 10 means 0"
    " to 10; 10: means 10 or more; ~:10 means 10 or less; 10:20 means 10 to 20; @10:20 means"
    " anything but 10 to 20; ~: means any value.  [default: problems=0 and held_back=0]",
)
@_alerts(
    "-c",
    "--critical",
    "criticals",
    metavar="[MEASURE=]RANGE",
    multiple=True,
    callback=_ranges,
    help="CRITICAL if MEASURE is outside RANGE; CRITICAL wins over WARNING (repeatable)."
    f"  [default: map_age={DEFAULT_MAX_AGE}]",
)
@format_option("the line of the plugin", is_eager=True)
def check(
    raw: RawOptions,
    form: str,
    map_path: str,
    no_map: bool,
    map_options: MapOptions,
    mirror: bool,
    warnings: dict[str, Range],
    criticals: dict[str, Range],
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
    held_back     1 if the next map would be held back, until an administrator
                  accepts it; otherwise 0
    problems      problems met while reading, mostly unreadable records

    With --mirror they are map_age (critical above 300 seconds), map_entries, and:

    \b
    stores          stores that are written
    stores_missing  stores that are expected or were there, and are not written
    stores_doubted  stores whose last change is not believed
    claimed_twice   users in more than one store, which is normal during a move
    without_domain  users left out by --key address, as no domain is known

    A store that is missing is critical, one that is doubted a warning, and so
    are users without a domain, unless a range says otherwise.
    """
    asked = warnings.keys() | criticals.keys()
    if "near" in asked and raw.reserve == Reserve():
        raise OptionError("the measure near needs --reserve, which says what is near")
    about_map = asked.intersection(_MAP_MEASURES)
    if no_map and about_map:
        raise OptionError(f"the measure {min(about_map)} needs the map; leave out --no-map")
    own = set(MIRROR_MEASURES) if mirror else set(MEASURES) - set(_STORE_MEASURES)
    for name in sorted(asked - own):
        verb = "has no meaning with" if mirror else "needs"
        raise OptionError(
            f"the measure {name} {verb} --mirror; choose from {', '.join(sorted(own))}"
        )
    if mirror:
        from cyrusquota.cli import check_mirror

        path = mirrored(click.get_current_context(), "map_path")
        return check_mirror.check(path, warnings, criticals, form)
    options = raw.load()
    result = scan(options, map_options.values.effective_reserve)
    found, missing, held_back = None, "", None
    try:
        found = None if no_map else installed_map(map_path)
    except NoSuchMap as error:
        missing = str(error)
    if found is not None:
        name = options.source.name
        held_back = map_options.preview(found, result.verdicts, result.roots, name).rejection
    thresholds = _thresholds(warnings, criticals)
    return _Report(options, result, thresholds, found, missing, held_back).answer(form)


@attrs.frozen
class _Report:
    """What was measured, and the thresholds.

    `missing` names a map that should be there; `held_back` says why the next one is held back.
    """

    options: Options
    result: ScanResult
    thresholds: Mapping[str, Thresholds]
    found: Optional[InstalledMap]
    missing: str
    held_back: Optional[Rejection]

    def answer(self, form: str) -> int:
        """Print the line or the object, and return the exit status."""
        measured = dict(self._measured())
        statuses = [self.thresholds[name].status(value) for name, value in measured.items()]
        figures = [self._figure(name, value) for name, value in measured.items()]
        if self.missing:
            statuses.append(PluginStatus.CRITICAL)
            figures += [self._figure(name, None) for name in _MAP_MEASURES]
        return answer(max(statuses), ", ".join(self._parts(measured)), figures, form)

    def _measured(self) -> Iterator[tuple[str, float]]:
        result = self.result
        yield "over", result.refused
        yield "over_percent", 100 * result.refused / result.users if result.users else 0.0
        if self.options.reserve != Reserve():
            # Those who are only within --headroom are none.
            near = self.options.reserve.near
            yield "near", sum(not one.over and bool(near(one.root)) for one in result.verdicts)
        if self.found is not None:
            yield "map_age", int(self.found.age())
            yield "map_entries", self.found.entries
            yield "held_back", +(self.held_back is not None)
        yield "problems", self.options.problems.count

    def _parts(self, measured: Mapping[str, float]) -> Iterator[str]:
        percent = f"({measured['over_percent']:.2f}%)"
        text = f"{measured['over']} of {count_of(self.result.users, 'user')} over quota {percent}"
        yield text + self._reasons(measured, "over", "over_percent")
        if "near" in measured:
            yield f"{measured['near']} near it" + self._reasons(measured, "near")
        if self.missing:
            yield f"critical: {self.missing}"
        age = measured.get("map_age")
        if age is not None:
            yield age_text(int(age)) + self._reasons(measured, "map_age")
            reasons = self._reasons(measured, "map_entries")
            if reasons:
                yield f"entries in the map: {measured['map_entries']}{reasons}"
        if self.held_back is not None:
            reasons = self._reasons(measured, "held_back")
            reason = self.held_back.reason.partition(";")[0]
            yield f"the next map is held back{reasons}: {reason}; `cyrusquota doctor` says more"
        problems, reasons = measured["problems"], self._reasons(measured, "problems")
        if problems:
            count = count_of(self.options.problems.count, "problem")
            count += "" if problems == 1 else ", the first"
            yield f"{count}{reasons}: {self.options.problems.first}"
        elif reasons:
            yield f"no problems{reasons}"

    def _reasons(self, measured: Mapping[str, float], *names: str) -> str:
        return alert_reasons(self.thresholds, measured, *names)

    def _figure(self, name: str, value: Optional[float]) -> PerformanceData:
        users = self.result.users
        most = {"over": users, "near": users, "over_percent": 100, "held_back": 1}
        least = None if name == "map_age" else 0
        return PerformanceData(
            name, value, MEASURES[name], self.thresholds[name], least, most.get(name)
        )


def _thresholds(
    warnings: Mapping[str, Range], criticals: Mapping[str, Range]
) -> dict[str, Thresholds]:
    """Return the thresholds of every measure: those that were given, or the default."""
    warnings = {**_DEFAULT_WARNINGS, **warnings}
    criticals = {**_DEFAULT_CRITICALS, **criticals}
    return {name: Thresholds(warnings.get(name), criticals.get(name)) for name in MEASURES}


_UNITS = ((172_800, 86_400, "days"), (7200, 3600, "h"), (120, 60, "min"))


def age_text(seconds: int) -> str:
    if seconds < 0:
        return f"map from the future, by {_duration(-seconds)}: check the clock"
    return f"map {_duration(seconds)} old"


def _duration(seconds: int) -> str:
    for least, unit, name in _UNITS:
        if seconds >= least:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"
