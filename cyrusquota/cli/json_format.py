"""The option --format of commands that print for people or as one JSON object, and that object.

docs/scripting.md has the shapes. A member that is added leaves the version as it is.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, TypeVar

import click

from cyrusquota.cli.command import Heading, under

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

#: Changes when a member goes away, or means something else.
VERSION = 1


def format_option(
    text: str = "for people", **attributes: Any
) -> Callable[[_Decorated], _Decorated]:
    """Return the option, whose value is passed as `form`."""
    return under(Heading.WRITTEN)(
        "--format",
        "form",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help=f"text: {text}; json: one object, sizes in bytes, times in seconds since 1970.",
        **attributes,
    )


def json_text(members: Mapping[str, object]) -> str:
    """Return the object with these members and the version."""
    # Most runs print no JSON.
    import json

    return json.dumps({"version": VERSION, **members}, indent=2)
