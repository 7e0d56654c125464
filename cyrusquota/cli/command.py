"""Commands and options whose --help and man pages have headings and examples.

`under(Heading.RUN)("--wait", ...)` makes an option under a heading. The help of a command lists
options by heading, in the order of `Heading`, and ends with examples, which tests run.
"""

from __future__ import annotations

import contextlib
import enum
import re
import shlex
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, TypeVar

import attrs
import click
from click.core import ParameterSource

from cyrusquota.errors import OptionError

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

#: Where in `Context.meta` the arguments are kept.
_ARGUMENTS = "cyrusquota.arguments"
#: Wide enough that click cuts no summary.
_SUMMARY_WIDTH = 1000
#: The metavars of options that take the name of a file.
_FILE_METAVARS = ("FILE", "PATH", "DIR")
#: Columns for the names of options; the text of an option with a longer name begins below it.
_NAME_WIDTH = 22


class Heading(enum.Enum):
    """The headings that options are grouped under, in this order."""

    SOURCE = "Where the quotas are"
    WHO = "Who is over"
    ROOTS = "Which quota roots"
    ALERTS = "When to alert"
    LETTERS = "The letters"
    MAP = "The map and Exim"
    WRITTEN = "What is written"
    ENGINE = "Several hosts"
    RUN = "How it runs"


@attrs.frozen
class Example:
    """A command line, and what it does."""

    about: str
    line: str


class Option(click.Option):
    """An option under a heading. One that takes the name of a file refuses an empty name.

    `needs` names the option without which this one has no effect: `--follow`, or with a value,
    `--format table`; or several, of which one will do: `-o FILE or --store`. Giving this one alone
    is wrong usage.
    """

    def __init__(
        self,
        *args: Any,
        heading: Heading,
        needs: Optional[str] = None,
        may_be_empty: bool = False,
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        self.heading = heading
        self.needs = needs
        self.may_be_empty = may_be_empty

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        if value == "" and self.metavar in _FILE_METAVARS and not self.may_be_empty:
            raise click.BadParameter(
                "expected the name of a file, found nothing; is a variable of the shell not set?",
                ctx,
                self,
            )
        return super().process_value(ctx, value)

    def get_help_record(self, ctx: click.Context) -> Optional[tuple[str, str]]:
        record = super().get_help_record(ctx)
        return None if record is None else (record[0], _plain_range(record[1]))


def _plain_range(text: str) -> str:
    """Spell out ranges, which click writes as `0.05<=x<=10` or `x>=0`."""
    text = re.sub(r"([0-9.]+)<=x<=([0-9.]+)", r"from \1 to \2", text)
    return re.sub(r"x>=([0-9.]+)", r"at least \1", text)


def under(heading: Heading) -> Callable[..., Callable[[_Decorated], _Decorated]]:
    """Return a `click.option` that puts options under `heading`."""

    def option(*names: str, **attributes: Any) -> Callable[[_Decorated], _Decorated]:
        return click.option(*names, cls=Option, heading=heading, **attributes)

    return option


def heading_of(parameter: click.Parameter) -> Heading:
    """Return the heading of `parameter`; click's own --help and --version have the last one."""
    return parameter.heading if isinstance(parameter, Option) else Heading.RUN


class Command(click.Command):
    """A command whose help has headings and examples, and that remembers its arguments."""

    def __init__(self, *args: Any, examples: Iterable[Example] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = tuple(examples)

        self.params.append(_settings_option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = tuple(args)
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        ends = any(
            one.is_eager and not one.expose_value and one.name in given
            for one in self.get_params(ctx)
        )
        if not ctx.resilient_parsing and not ends:
            # That module needs this one.
            from cyrusquota.cli import settings

            settings.apply(ctx, given)
        with _located(ctx):
            return self._parse(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _located(ctx):
            return super().invoke(ctx)

    def _parse(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        for option in self.params:
            needs = option.needs if isinstance(option, Option) else None
            if needs and not ctx.resilient_parsing and not _has_effect(option, needs, ctx):
                name = option.opts[-1]
                raise OptionError(
                    f"{name} has no effect without {needs}; add that, or leave {name} out"
                )
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, records in _records(self, ctx).items():
            with formatter.section(heading.value):
                formatter.write_dl(records, col_max=_NAME_WIDTH)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not self.examples:
            return
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write_text(f"{example.about}:")
                formatter.write(f"{'':{formatter.current_indent + 2}}{example.line}\n")


def _settings_option() -> Option:
    from cyrusquota.cli.option_types import file_names

    return Option(
        ["--settings"],
        metavar="FILE",
        heading=Heading.RUN,
        expose_value=False,
        may_be_empty=True,
        shell_complete=file_names,
        help="The settings file; '' reads none.  [default: /etc/cyrusquota.conf, if it is there]",
    )


@contextlib.contextmanager
def _located(context: click.Context) -> Iterator[None]:
    """Let an error about an option that the settings file sets name its line."""
    try:
        yield
    except OptionError as error:
        from cyrusquota.cli import settings

        raise settings.located(error, context) from error


def _has_effect(option: click.Parameter, needs: str, context: click.Context) -> bool:
    """Return whether `option` was not given, or what it `needs` was."""
    if context.get_parameter_source(option.name or "") is not ParameterSource.COMMANDLINE:
        return True
    return any(_is_there(needed, context) for needed in needs.split(" or "))


def _is_there(needed_option: str, context: click.Context) -> bool:
    """Return whether an option was given, with a certain value if one is named."""
    name, _, wanted = needed_option.partition(" ")
    needed = next(other for other in context.command.params if name in other.opts)
    value = context.params[needed.name or ""]
    # A word in capitals stands for any value; `-` is no file.
    return value == wanted if wanted.islower() else value not in (None, False, "-")


def _records(command: click.Command, ctx: click.Context) -> Mapping[Heading, list[tuple[str, str]]]:
    """Return the help records of the options of `command`, by heading."""
    found: dict[Heading, list[tuple[str, str]]] = {heading: [] for heading in Heading}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None and isinstance(parameter, click.Option):
            found[heading_of(parameter)].append(record)
    return {heading: records for heading, records in found.items() if records}


class Group(click.Group):
    """A group of commands whose help has the whole summary of each."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(_SUMMARY_WIDTH))
                    for name, command in self.commands.items()
                ]
            )


def arguments(context: click.Context) -> tuple[str, ...]:
    """Return the arguments that the command was called with."""
    found: tuple[str, ...] = context.meta.get(_ARGUMENTS, ())
    return found


def command_again(option: str, value: str) -> str:
    """Return the command line of this run, quoted for a shell, with `option` set to `value`."""
    context = click.get_current_context()
    given: Iterable[str] = arguments(context)
    # A follower takes no --accept-change.
    if "--follow" in given:
        given = (word for word in given if word != "--follow")
        for needs_follow in ("--poll", "--engine", "--store"):
            given = _without(needs_follow, given)
    return shlex.join([*_names(context), *_without(option, given), option, value])


def _names(context: click.Context) -> list[str]:
    """Return the names of the program and of its command."""
    above = [] if context.parent is None else _names(context.parent)
    return [*above, context.info_name or ""]


def _without(option: str, arguments: Iterable[str]) -> Iterator[str]:
    words = iter(arguments)
    for word in words:
        if word == option:
            next(words, None)
        elif not word.startswith(f"{option}="):
            yield word
