"""cyrusquota settings: show what the settings file sets for each command, or check it."""

from __future__ import annotations

from typing import Any, Iterator, Optional

import attrs
import click

from cyrusquota.cli import settings, settings_file
from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.json_format import format_option, json_text
from cyrusquota.cli.settings import SettingsFile
from cyrusquota.cli.settings_file import Setting
from cyrusquota.errors import OptionError, printable

_NO_FILE = "no settings file; all options have their defaults"


@click.command(
    "settings",
    cls=Command,
    examples=(
        Example("Show the options of every command", "cyrusquota settings"),
        Example("Show those of the export", "cyrusquota settings export"),
        Example("Check the settings file", "cyrusquota settings --check"),
    ),
)
@format_option()
@under(Heading.RUN)("--check", is_flag=True, help="Check the whole file, and print one line.")
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def show_settings(context: click.Context, form: str, check: bool, names: tuple[str, ...]) -> None:
    """Show the options that are in force, and where each value comes from.

    The settings file is /etc/cyrusquota.conf, or the one that --settings names. COMMAND is the name
    of a section, such as export or check; without one, all are shown. The exit status is 78 if the
    file cannot be followed; the message names the line.
    """
    commands = {name: _command(name) for name in names or settings_file.COMMANDS}
    found = settings.applied(context).file
    shown = {name: list(_values(one, found)) for name, one in commands.items()}
    for name, one in commands.items():
        shown.update(_by_domain(name, one, found))
    path = None if found is None else found.path
    if check:
        click.echo(_NO_FILE if path is None else f"{printable(path)}: no errors")
    elif form == "json":
        objects = {name: {one.key: one.as_json() for one in shown[name]} for name in shown}
        click.echo(json_text({"file": path, "commands": objects}))
    else:
        click.echo(f"# {_NO_FILE if path is None else printable(path)}")
        for name, values in shown.items():
            click.echo(f"\n[{name}]")
            for value in values:
                if value.value not in (None, False, ()):
                    click.echo(value.as_text())


@attrs.frozen
class _Value:
    """An option, its value, and what in the file sets it."""

    key: str
    value: Any
    setting: Optional[Setting]

    def as_text(self) -> str:
        """Return the line for people."""
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        shown = ", ".join("yes" if value is True else printable(str(value)) for value in values)
        one = self.setting
        where = "default" if one is None else f"line {one.line}, [{one.section}]"
        return f"{f'{self.key} = {shown}':<50} # {where}"

    def as_json(self) -> dict[str, Any]:
        """Return the object; section and line are null for a default."""
        one = self.setting
        return {
            "value": self.value,
            "section": None if one is None else one.section,
            "line": None if one is None else one.line,
        }


def _values(command: click.Command, found: Optional[SettingsFile]) -> Iterator[_Value]:
    context = click.Context(command, info_name=command.name)
    in_file = {} if found is None else found.defaults(command, context)
    for key, option in settings.options_of(command).items():
        setting = in_file.get(option.name or "")
        default = option.get_default(context)
        # Some versions of click have an object that stands for no default.
        value = default if isinstance(default, (str, bool, int, float)) else None
        yield _Value(key, value if setting is None else setting.value(option), setting)


def _by_domain(
    name: str, command: click.Command, found: Optional[SettingsFile]
) -> Iterator[tuple[str, list[_Value]]]:
    """Yield the sections of a command for single domains, and what they set."""
    context = click.Context(command, info_name=command.name)
    sections = {} if found is None else found.by_domain(command, context)
    for domain, values in sections.items():
        yield (
            f"{name} {domain}",
            [_Value(one.key, one.text.strip(), one) for one in values.values()],
        )


def _command(name: str) -> click.Command:
    from cyrusquota.cli import engine_options
    from cyrusquota.cli.export import export
    from cyrusquota.cli.main import cyrusquota
    from cyrusquota.cli.mirror import mirror

    others = {
        settings_file.EXPORT: export,
        settings_file.MIRROR: mirror,
        settings_file.ENGINE: engine_options.SECTION,
    }
    found = others.get(name) or cyrusquota.commands.get(name)
    if found is None:
        known = ", ".join(settings_file.COMMANDS)
        raise OptionError(f"unknown command {printable(name)!r}; choose from {known}")
    return found
