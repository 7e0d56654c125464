"""The options for who owns a file that is written, and who may read it."""

from __future__ import annotations

import functools
import re
from typing import Any, Callable, Optional

import click

from cyrusquota.cli._command import Heading, under
from cyrusquota.publish import Ownership
from cyrusquota.publish.privileges import group_id, user_id

_MODE = re.compile("0?[0-7]{1,3}", re.ASCII)


def _mode_bits(context: click.Context, parameter: click.Parameter, value: str) -> int:
    if not _MODE.fullmatch(value):
        raise click.BadParameter(f"expected an octal mode such as 0644, found {value!r}")
    return int(value, 8)


def ownership_options(
    what: str, default_mode: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options for `what` it writes, and `ownership`, with ids for names."""
    written = under(Heading.WRITTEN)
    options = (
        written(
            "--owner",
            metavar="USER",
            help=f"The owner of {what}.  [default: the user who runs this]",
        ),
        written(
            "--group", metavar="GROUP", help=f"The group of {what}.  [default: as for a new file]"
        ),
        written(
            "--mode",
            metavar="MODE",
            callback=_mode_bits,
            default=default_mode,
            show_default=True,
            help=f"The mode of {what}, in octal.",
        ),
    )

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapped(owner: Optional[str], group: Optional[str], mode: int, **given: Any) -> Any:
            owner_id = None if owner is None else user_id(owner)
            ownership = Ownership(mode, owner_id, None if group is None else group_id(group))
            return command(ownership=ownership, **given)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorated
