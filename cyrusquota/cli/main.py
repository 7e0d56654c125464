"""cyrusquota: the commands for people and monitoring."""

from __future__ import annotations

from typing import NoReturn

import click

from cyrusquota import __version__
from cyrusquota.cli.check import check
from cyrusquota.cli.command import Group
from cyrusquota.cli.doctor import examine
from cyrusquota.cli.explain import explain_user
from cyrusquota.cli.list import list_roots
from cyrusquota.cli.metrics import metrics
from cyrusquota.cli.report import report
from cyrusquota.cli.run import run


@click.group(
    cls=Group, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, help="Show the version and exit.")
def cyrusquota() -> None:
    """Show, check and explain the quotas of a Cyrus IMAP server, from its files.

    `cyrusquota COMMAND --help` has the options and examples of each command. The map for Exim is
    written by cyrusquota-export.
    """


cyrusquota.add_command(list_roots)
cyrusquota.add_command(report)
cyrusquota.add_command(examine)
cyrusquota.add_command(explain_user)
cyrusquota.add_command(check)
cyrusquota.add_command(metrics)


def main() -> NoReturn:
    """Run `cyrusquota` and exit."""
    run(cyrusquota, "cyrusquota")
