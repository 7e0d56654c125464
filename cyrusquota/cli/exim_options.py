"""The options for which Exim to ask, and which map to read, of the commands that ask both."""

from __future__ import annotations

import functools
from typing import Any, Callable, Optional

from cyrusquota.cli.command import Heading, under
from cyrusquota.cli.option_types import file_names
from cyrusquota.errors import OptionError
from cyrusquota.maps.installed import DEFAULT_PATH
from cyrusquota.mta import exim
from cyrusquota.mta.exim import Exim

_map = under(Heading.MAP)
_OPTIONS = (
    _map(
        "--map",
        "path",
        metavar="FILE",
        shell_complete=file_names,
        help=f"The map.  [default: the one that Exim's router looks up, or {DEFAULT_PATH}]",
    ),
    _map(
        "--exim",
        "program",
        metavar="PATH",
        shell_complete=file_names,
        help=f"The Exim to ask.  [default: {' or '.join(exim.NAMES)} in the usual places]",
    ),
    _map(
        "--exim-config",
        metavar="FILE",
        shell_complete=file_names,
        help="The configuration file to pass to Exim as -C, which only root may do.  [default:"
        " Exim's own]",
    ),
    _map("--no-exim", is_flag=True, help="Do not ask Exim."),
)


def exim_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `path`, that of the map, and `mta`, the Exim to ask, or None."""

    @functools.wraps(command)
    def wrapped(
        program: Optional[str], exim_config: Optional[str], no_exim: bool, **options: Any
    ) -> Any:
        asking = {
            "--exim": program,
            "--exim-config": exim_config,
            "--domain": options.get("domain"),
        }
        given = [name for name, value in asking.items() if value is not None]
        if no_exim and given:
            raise OptionError(f"--no-exim excludes {given[0]}; leave one of them out")
        path = None if no_exim else program or exim.installed()
        mta = None if path is None else Exim(path, exim_config)
        return command(mta=mta, **options)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
