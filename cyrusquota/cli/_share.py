"""A share of a limit, as options take it: 90%, or 90."""

from __future__ import annotations

import re
from typing import Optional

import click

from cyrusquota.errors import OptionError
from cyrusquota.summary import NEAR

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%?", re.ASCII)


def share(context: click.Context, parameter: click.Parameter, given: str) -> float:
    """Percent of a limit, of `--near`; raises `OptionError` for what is none."""
    match = _SHARE.fullmatch(given)
    if match is None or not 0 < float(match[1]) <= 100:
        raise OptionError(f"--near: expected a share of the limit such as 90%, found {given!r}")
    return float(match[1])


def share_if_any(
    context: click.Context, parameter: click.Parameter, given: Optional[str]
) -> Optional[float]:
    """The same, None where the option is not given."""
    return None if given is None else share(context, parameter, given)


#: From which use on a root is near its limit, for commands that count those.
near_option = click.option(
    "--near",
    metavar="SHARE",
    callback=share,
    default=f"{NEAR:g}%",
    show_default=True,
    help="From which use of a limit on a root is near it.",
)
