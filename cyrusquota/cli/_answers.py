"""The options for what a map says about each user, and in which format."""

from __future__ import annotations

import functools
from typing import Any, Callable, Optional

import click

from cyrusquota import maps
from cyrusquota.cli._amounts import size
from cyrusquota.cli._command import Heading, under
from cyrusquota.cli._source import RawOptions
from cyrusquota.maps.values import MapValues

_written = under(Heading.WRITTEN)
_OPTIONS = (
    _written(
        "--map-format",
        type=click.Choice(list(maps.FORMATS)),
        default="lsearch",
        show_default=True,
        help="Format of the map: lsearch or cdb for Exim, postfix for an access table of Postfix.",
    ),
    _written(
        "--message",
        metavar="TEXT",
        help=f"The text of the reply to the sender, at most {maps.MAX_MESSAGE} bytes."
        f"  [default: {maps.DEFAULT_MESSAGE}]",
    ),
    _written(
        "--headroom",
        metavar="SIZE",
        help="For users with less than this left, also write how much is left, as `free=BYTES`; for"
        " a router that compares it with the size of the message.",
    ),
    _written(
        "--refuse",
        is_flag=True,
        help="Refuse mail permanently (552 5.2.2) instead of deferring it, as Cyrus does with"
        " lmtp_over_quota_perm_failure; needs the router for it.",
    ),
)


def answer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command with `raw` the options, and `map_values`, which is what they come to."""

    @functools.wraps(command)
    def wrapped(
        raw: RawOptions,
        map_format: str,
        message: Optional[str],
        headroom: Optional[str],
        refuse: bool,
        **options: Any,
    ) -> Any:
        least = 0 if headroom is None else size("--headroom", headroom)
        map_values = MapValues(maps.FORMATS[map_format], message, refuse, raw.reserve, least)
        map_values.check()
        return command(raw=raw, map_values=map_values, **options)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
