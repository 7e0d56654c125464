"""The options that say which Exim to ask, and which map, for the commands that ask both."""

from __future__ import annotations

import functools
from typing import Any, Callable, Optional

import click

from cyrusquota import exim
from cyrusquota.cli._complete import file_names
from cyrusquota.errors import OptionError
from cyrusquota.exim import Exim
from cyrusquota.maps.placed import DEFAULT_PATH

_OPTIONS = (
    click.option(
        "--map",
        "path",
        metavar="FILE",
        shell_complete=file_names,
        help=f"The map in place.  [default: the one that Exim's router asks, or {DEFAULT_PATH}]",
    ),
    click.option(
        "--exim",
        "program",
        metavar="PATH",
        shell_complete=file_names,
        help=f"The Exim to ask.  [default: {' or '.join(exim.NAMES)} in the usual places]",
    ),
    click.option(
        "--exim-config",
        metavar="FILE",
        shell_complete=file_names,
        help="The configuration to give it by its -C, which only root may do.  [default: its own]",
    ),
    click.option("--no-exim", is_flag=True, help="Do not ask Exim."),
)


def exim_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `path`, that of the map, and `mta`, the Exim to ask, or None."""

    @functools.wraps(command)
    def wrapped(
        program: Optional[str], exim_config: Optional[str], no_exim: bool, **options: Any
    ) -> Any:
        if no_exim and (program is not None or exim_config is not None):
            raise OptionError("--no-exim goes neither with --exim nor with --exim-config")
        path = None if no_exim else program or exim.installed()
        mta = None if path is None else Exim(path, exim_config)
        return command(mta=mta, **options)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
