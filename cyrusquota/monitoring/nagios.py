"""Write the output of a plugin for Nagios or Icinga: status, ranges, and one line with figures.

The rules are those of the Monitoring Plugins Development Guidelines. A range raises an alert for
values outside it; its ends belong to it. After a `|` come the performance data,
`label=value[unit];warning;critical;minimum;maximum`.
"""

from __future__ import annotations

import enum
import re
from typing import Iterable, Mapping, Optional

import attrs

from cyrusquota.errors import OptionError, printable

#: Longest text: NRPE before version 3 cuts the whole line at 1024 bytes.
_MOST = 600


class PluginStatus(enum.IntEnum):
    """The status of a service; the number is the exit status of the plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_NUMBER = r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_RANGE = re.compile(
    rf"(?P<inside>@)?(?:(?P<start>~|{_NUMBER})?(?P<colon>:))?(?P<end>{_NUMBER})?", re.ASCII
)


@attrs.frozen
class Range:
    """Values that raise no alert: `start` to `end`, or with `is_inverted` all others."""

    text: str
    start: float
    end: float
    is_inverted: bool = False

    @classmethod
    def of(cls, text: str) -> Range:
        """Parse `[@][START:][END]`. START `~` is minus infinity, END defaults to infinity.

        Raises `OptionError` for anything else.
        """
        match = _RANGE.fullmatch(text)
        if match is None or not (match["colon"] or match["end"]):
            raise OptionError(
                "expected a range such as 10 (0 to 10), 10: (10 or more), ~:10 (10 or less), 10:20"
                f" or @10:20 (anything but that), found {printable(text)!r}"
            )
        start = float("-inf") if match["start"] == "~" else float(match["start"] or 0)
        end = float("inf") if match["end"] is None else float(match["end"])
        if start > end:
            raise OptionError(f"the range {text} begins above its end; turn it round")
        return cls(text, start, end, bool(match["inside"]))

    def alerts(self, value: float) -> bool:
        """Return whether `value` raises an alert."""
        return (self.start <= value <= self.end) is self.is_inverted

    def place(self, value: float) -> str:
        """Return where a `value` that raises an alert lies."""
        if self.is_inverted:
            return f"inside {self.start:.15g}:{self.end:.15g}"
        return f"above {self.end:.15g}" if value > self.end else f"below {self.start:.15g}"

    def __str__(self) -> str:
        return self.text


@attrs.frozen
class Thresholds:
    """The ranges of one measure."""

    warning: Optional[Range] = None
    critical: Optional[Range] = None

    def status(self, value: float) -> PluginStatus:
        """Return the status that `value` stands for."""
        return self._exceeded(value)[0]

    def reason(self, name: str, value: float) -> str:
        """Return why a measure `name` with this `value` is not OK, or an empty string."""
        status, exceeded = self._exceeded(value)
        if exceeded is None:
            return ""
        return f"{status.name.lower()}: {name} {exceeded.place(value)}"

    def _exceeded(self, value: float) -> tuple[PluginStatus, Optional[Range]]:
        for status, limit in (
            (PluginStatus.CRITICAL, self.critical),
            (PluginStatus.WARNING, self.warning),
        ):
            if limit is not None and limit.alerts(value):
                return status, limit
        return PluginStatus.OK, None


def alert_reasons(
    thresholds: Mapping[str, Thresholds], measured: Mapping[str, float], *names: str
) -> str:
    """Return in brackets, after a space, why measures are not OK; empty if all of them are."""
    found = (thresholds[name].reason(name, measured[name]) for name in names)
    wrong = ", ".join(filter(None, found))
    return f" [{wrong}]" if wrong else ""


@attrs.frozen
class PerformanceData:
    """One figure after the `|`. A value of None is unknown (`U`)."""

    label: str
    value: Optional[float]
    unit: str = ""
    thresholds: Thresholds = Thresholds()
    least: Optional[int] = 0
    most: Optional[int] = None

    def __str__(self) -> str:
        value = "U" if self.value is None else f"{_plain(self.value)}{self.unit}"
        ranges = (self.thresholds.warning, self.thresholds.critical)
        fields = [value, *("" if field is None else str(field) for field in ranges)]
        fields += ["" if field is None else str(field) for field in (self.least, self.most)]
        return f"{self.label}={';'.join(fields).rstrip(';')}"


def _plain(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def line(
    name: str, status: PluginStatus, text: str, figures: Iterable[PerformanceData] = ()
) -> str:
    """Return the line of a plugin: ASCII only, and the one `|` stands before the figures."""
    safe = printable(text).replace("|", r"\x7c")
    safe = safe.encode("ascii", "backslashreplace").decode("ascii")
    if len(safe) > _MOST:
        safe = f"{safe[: _MOST - 3]}..."
    data = " ".join(map(str, figures))
    return f"{name} {status.name} - {safe}" + (f" | {data}" if data else "")
