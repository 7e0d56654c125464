"""Permission bits of a file to write, as chmod takes them in octal."""

from __future__ import annotations

import click


def mode_bits(context: click.Context, parameter: click.Parameter, value: str) -> int:
    """The bits of an option `--mode`."""
    try:
        mode = int(value, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise click.BadParameter(f"expected an octal mode such as 0644, found {value!r}")
    return mode
