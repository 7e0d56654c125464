"""The options that say what a map tells about each user, and in which format."""

from __future__ import annotations

import functools
from typing import Any, Callable, Optional

import click

from cyrusquota import maps
from cyrusquota.cli._source import Chosen, size
from cyrusquota.maps.answers import Answers

_OPTIONS = (
    click.option(
        "--format",
        "format_name",
        type=click.Choice(list(maps.FORMATS)),
        default="lsearch",
        show_default=True,
        help="Format of the map: lsearch or cdb for Exim, or an access table of Postfix.",
    ),
    click.option(
        "--message",
        metavar="TEXT",
        help=f"What the sender is told, at most {maps.MAX_MESSAGE} bytes."
        f"  [default: {maps.DEFAULT_MESSAGE}]",
    ),
    click.option(
        "--headroom",
        metavar="SIZE",
        help="Also write how much is left to users with less than this left, as `free=BYTES`, for a"
        " router that compares it with the size of a message.",
    ),
    click.option(
        "--refuse",
        is_flag=True,
        help="Refuse for good (552 5.2.2) whom Cyrus would refuse for good, that is with"
        " lmtp_over_quota_perm_failure; needs a router of its own.",
    ),
)


def answer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command with `chosen` the options, and `answers`, which is what they come to."""

    @functools.wraps(command)
    def wrapped(
        chosen: Chosen,
        format_name: str,
        message: Optional[str],
        headroom: Optional[str],
        refuse: bool,
        **options: Any,
    ) -> Any:
        least = 0 if headroom is None else size("--headroom", headroom)
        answers = Answers(maps.FORMATS[format_name], message, refuse, chosen.reserve, least)
        answers.check()
        return command(chosen=chosen, answers=answers, **options)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
