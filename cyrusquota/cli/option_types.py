"""The values that options take: sizes and amounts, percentages, seconds, the names of files."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Optional

import click

from cyrusquota.errors import OptionError, printable
from cyrusquota.quota import Resource
from cyrusquota.verdicts.policies import Reserve

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_AMOUNT = re.compile(
    r"(?:(?P<resource>[A-Za-z-]+)=)?(?P<number>[0-9]{1,18}(?:\.[0-9]{1,9})?)(?P<unit>[KMGT%]?)",
    re.ASCII,
)
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
#: A bare number of these is not taken for bytes, which nobody means.
_IN_BYTES = (Resource.STORAGE, Resource.ANNOTATION_STORAGE)
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%?", re.ASCII)


def size(option: str, given: str) -> int:
    """Return the bytes in `given` (50M, 512K); raise `OptionError` for anything else."""
    match = _AMOUNT.fullmatch(given)
    if match is None or match["resource"] is not None or match["unit"] == "%":
        raise OptionError(f"{option}: expected a size such as 50M or 512K, found {given!r}")
    return int(float(match["number"]) * _UNITS.get(match["unit"], 1))


def size_given(context: click.Context, parameter: click.Parameter, given: Optional[str]) -> int:
    """Return the bytes that an option gives, 0 without it; raise what `size` does."""
    return 0 if given is None else size(parameter.opts[-1], given)


def reserve(amounts: tuple[str, ...]) -> Reserve:
    """Return what `--reserve` asks for, by resource; raise `OptionError` for what is no amount."""
    sizes: dict[Resource, int] = {}
    percents: dict[Resource, float] = {}
    names = {resource.value: resource for resource in Resource}
    for given in amounts:
        match = _AMOUNT.fullmatch(given)
        name = match["resource"] if match is not None else None
        is_known = match is not None and (name is None or name.upper() in names)
        if match is None or not is_known or (match["unit"] == "%" and float(match["number"]) > 100):
            raise OptionError(
                f"--reserve: expected an amount such as 50M, 2% or MESSAGE=100, found {given!r};"
                f" resources are {', '.join(names)}"
            )
        number, unit = float(match["number"]), match["unit"]
        if unit == "%":
            for resource in Resource if name is None else (names[name.upper()],):
                percents[resource] = number
        else:
            resource = Resource.STORAGE if name is None else names[name.upper()]
            if not unit and resource in _IN_BYTES:
                raise OptionError(
                    f"--reserve: expected a unit behind {given}: {given}M or {given}K of space,"
                    f" or {given}% of the limit"
                )
            sizes[resource] = int(number * _UNITS.get(unit, 1))
    return Reserve(sizes, percents)


def percent(
    context: click.Context, parameter: click.Parameter, given: Optional[str]
) -> Optional[float]:
    """Return the percentage that `--near` gives, as `90%` or `90`; None without one.

    Raises `OptionError` for anything else, and for 0.9, which may mean 0.9% or 90%.
    """
    if given is None:
        return None
    match = _PERCENT.fullmatch(given)
    if match is not None and 0 < float(match[1]) < 1 and not given.endswith("%"):
        raise OptionError(
            f"--near: expected a percentage such as 90%, found the fraction {given};"
            f" write {float(given) * 100:g}%, or {given}% if that is meant"
        )
    if match is None or not 0 < float(match[1]) <= 100:
        raise OptionError(
            f"--near: expected a percentage of the limit such as 90%, found {given!r}"
        )
    return float(match[1])


_DURATION = re.compile(r"([0-9]{1,6})([mhdw])", re.ASCII)
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def duration(context: click.Context, parameter: click.Parameter, given: str) -> int:
    """Return the seconds in `7d` or `12h`; raise `OptionError` for anything else."""
    match = _DURATION.fullmatch(given)
    if match is None or not int(match[1]):
        raise OptionError(
            f"{parameter.opts[-1]}: expected a duration such as 7d, 12h or 2w,"
            f" found {printable(given)!r}"
        )
    return int(match[1]) * _SECONDS[match[2]]


class Seconds(click.FloatRange):
    """A finite number of seconds within a range; Python would take inf and nan for numbers."""

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"expected a number of seconds, found {value!r}", param, ctx)
        return seconds


def file_names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let the shell complete the name of a file."""
    # Only shells need it, and it takes time to load.
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]
