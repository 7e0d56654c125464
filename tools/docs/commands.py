"""Read the commands and their options from click.

Only methods are used that return the same in click 8.1 and 8.5, such as `get_help_record`.
"""

from __future__ import annotations

import inspect
import re
from typing import Iterator

import attrs
import click

from cyrusquota.cli.command import Command as Documented
from cyrusquota.cli.command import Example, heading_of
from cyrusquota.cli.export import export
from cyrusquota.cli.main import cyrusquota
from cyrusquota.cli.mirror import mirror

#: The programs, by name.
PROGRAMS: dict[str, click.Command] = {
    "cyrusquota-export": export,
    "cyrusquota-mirror": mirror,
    "cyrusquota": cyrusquota,
}

#: Wide enough that click breaks no line.
_WIDTH = 100_000
#: At the beginning, or after another name and a comma; a metavar may contain dashes.
_NAME = re.compile(r"(?:^|(?<=, ))-{1,2}[A-Za-z][a-z-]*")
_EXTRAS = re.compile(r"  \[([^\]]*)\]")


@attrs.frozen
class Option:
    """One option: its spelling, what it does, its default, and its heading."""

    spelling: str
    text: str
    extra: str = ""
    heading: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Return `-o` and `--output`, without the metavar."""
        return tuple(_NAME.findall(self.spelling))


@attrs.frozen
class Command:
    """One command: its name, usage, description and options."""

    name: str
    usage: str
    summary: str
    paragraphs: tuple[str, ...]
    options: tuple[Option, ...]
    examples: tuple[Example, ...] = ()


def command(name: str) -> Command:
    """Return the command that `name` calls, such as `cyrusquota list`."""
    found, context = _resolved(name)
    paragraphs = tuple(inspect.cleandoc(found.help or "").split("\f")[0].strip().split("\n\n"))
    return Command(
        name,
        " ".join(found.collect_usage_pieces(context)),
        found.get_short_help_str(_WIDTH),
        paragraphs,
        tuple(_options(found, context)),
        found.examples if isinstance(found, Documented) else (),
    )


def subcommands(program: str) -> tuple[str, ...]:
    """Return the names of the subcommands of a program."""
    found, context = _resolved(program)
    if not isinstance(found, click.Group):
        return ()
    return tuple(f"{program} {word}" for word in found.list_commands(context))


def every() -> Iterator[Command]:
    """Return every command."""
    for program in PROGRAMS:
        yield command(program)
        for name in subcommands(program):
            yield command(name)


def _resolved(name: str) -> tuple[click.Command, click.Context]:
    program, *words = name.split()
    found = PROGRAMS[program]
    context = click.Context(
        found, info_name=program, terminal_width=_WIDTH, **found.context_settings
    )
    for word in words:
        assert isinstance(found, click.Group)
        inner = found.get_command(context, word)
        assert inner is not None
        found, context = (
            inner,
            click.Context(inner, info_name=word, parent=context, **inner.context_settings),
        )
    return found, context


def _options(found: click.Command, context: click.Context) -> Iterator[Option]:
    for parameter in found.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            spelling, text = record
            extras = _EXTRAS.findall(text)
            about = _EXTRAS.sub("", text).strip()
            yield Option(spelling, about, "; ".join(extras), heading_of(parameter).value)
