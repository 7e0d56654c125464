"""Amounts of a resource on the command line: 50M, 2%, MESSAGE=100."""

from __future__ import annotations

import re

from cyrusquota.errors import OptionError
from cyrusquota.quota import Resource
from cyrusquota.verdicts.policies import Reserve

_AMOUNT = re.compile(
    r"(?:(?P<resource>[A-Za-z-]+)=)?(?P<number>[0-9]{1,18}(?:\.[0-9]{1,9})?)(?P<unit>[KMGT%]?)",
    re.ASCII,
)
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size(option: str, given: str) -> int:
    """Return the bytes in `given` (50M, 512K); raise `OptionError` for anything else."""
    match = _AMOUNT.fullmatch(given)
    if match is None or match["resource"] is not None or match["unit"] == "%":
        raise OptionError(f"{option}: expected a size such as 50M or 512K, found {given!r}")
    return int(float(match["number"]) * _UNITS.get(match["unit"], 1))


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
            sizes[resource] = int(number * _UNITS.get(unit, 1))
    return Reserve(sizes, percents)
