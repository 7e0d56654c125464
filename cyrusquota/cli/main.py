"""cyrusquota: the commands for people and monitoring."""

from __future__ import annotations

import importlib
from typing import Iterator, MutableMapping, NoReturn

import click

from cyrusquota import __version__
from cyrusquota.cli.command import Group
from cyrusquota.cli.run import run


class _Commands(MutableMapping[str, click.Command]):
    """The commands by name; each is imported when it is asked for, to start in less time."""

    def __init__(self, places: dict[str, tuple[str, str]]) -> None:
        self._places = places
        self._imported: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._imported:
            module, function = self._places[name]
            imported = importlib.import_module(f"cyrusquota.cli.{module}")
            self._imported[name] = getattr(imported, function)
        return self._imported[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._imported[name] = command

    def __delitem__(self, name: str) -> None:
        self._places.pop(name, None)
        self._imported.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter({**self._places, **self._imported})

    def __len__(self) -> int:
        return len({**self._places, **self._imported})


#: Module and function, in the order of --help.
_COMMANDS = {
    "list": ("list", "list_roots"),
    "report": ("report", "report"),
    "doctor": ("doctor", "examine"),
    "explain": ("explain", "explain_user"),
    "check": ("check", "check"),
    "metrics": ("metrics", "metrics"),
    "stores": ("stores", "stores"),
    "engine": ("engine", "engine"),
    "notify": ("notify", "notify"),
    "router": ("router", "print_router"),
    "settings": ("show_settings", "show_settings"),
}


@click.group(
    cls=Group,
    commands=_Commands(_COMMANDS),
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, help="Show the version and exit.")
def cyrusquota() -> None:
    """Show, check and explain the quotas of a Cyrus IMAP server, from its files.

    `cyrusquota COMMAND --help` has the options and examples of each command. The map for Exim is
    written by cyrusquota-export.
    """


def main() -> NoReturn:
    """Run `cyrusquota` and exit."""
    run(cyrusquota, "cyrusquota")
