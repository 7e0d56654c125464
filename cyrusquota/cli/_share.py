"""A percentage of a limit, as options take it: 90%, or 90."""

from __future__ import annotations

import re
from typing import Optional

import click

from cyrusquota.cli._command import Heading, under
from cyrusquota.errors import OptionError
from cyrusquota.verdicts.summary import NEAR

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%?", re.ASCII)


def share(context: click.Context, parameter: click.Parameter, given: str) -> float:
    """Return the percentage that `--near` gives; raise `OptionError` for anything else."""
    match = _SHARE.fullmatch(given)
    if match is None or not 0 < float(match[1]) <= 100:
        raise OptionError(
            f"--near: expected a percentage of the limit such as 90%, found {given!r}"
        )
    return float(match[1])


def share_if_any(
    context: click.Context, parameter: click.Parameter, given: Optional[str]
) -> Optional[float]:
    """Return the same, or None where the option is not given."""
    return None if given is None else share(context, parameter, given)


#: For commands that count roots that are nearly full.
near_option = under(Heading.WHO)(
    "--near",
    metavar="PERCENT",
    callback=share,
    default=f"{NEAR:g}%",
    show_default=True,
    help="Count a root as nearly full from this percentage of a limit.",
)
