"""cyrusquota-export: write the map of users whose mail Cyrus would refuse."""

from __future__ import annotations

import sys
import time
from typing import NoReturn, Optional

import click

from cyrusquota import __version__, maps, overquota, publish
from cyrusquota.cli._run import complain, run
from cyrusquota.cli._source import Chosen, source_options
from cyrusquota.errors import DataError
from cyrusquota.maps import KeyForm, lsearch
from cyrusquota.overquota import Verdict

_STAMP = "%Y-%m-%dT%H:%M:%S%z"


def _mode(context: click.Context, parameter: click.Parameter, value: str) -> int:
    """Permission bits, as chmod takes them in octal."""
    try:
        mode = int(value, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise click.BadParameter(f"expected an octal mode such as 0644, found {value!r}")
    return mode


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@source_options
@click.option(
    "--exempt",
    metavar="ADDRESS",
    multiple=True,
    help="Never list this address or local part (repeatable; postmaster never is).",
)
@click.option("-o", "--output", metavar="FILE", help="The map.  [default: standard output]")
@click.option(
    "--key",
    type=click.Choice([form.value for form in KeyForm]),
    default=KeyForm.AUTO.value,
    show_default=True,
    help="What Exim looks up: the address where a domain is known (auto), always the address, or"
    " the local part, for hosts with one domain.",
)
@click.option(
    "--message",
    metavar="TEXT",
    default=maps.DEFAULT_MESSAGE,
    show_default=True,
    help=f"What the sender is told, at most {maps.MAX_MESSAGE} bytes.",
)
@click.option("--owner", metavar="USER", help="Owner of the map.  [default: whoever runs this]")
@click.option("--group", metavar="GROUP", help="Group of the map.  [default: as for a new file]")
@click.option(
    "--mode", callback=_mode, default="0644", show_default=True, help="Mode of the map, in octal."
)
@click.option("-n", "--dry-run", is_flag=True, help="Say what would change, write nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Tell the numbers on standard error.")
@click.version_option(__version__)
def export(
    chosen: Chosen,
    exempt: tuple[str, ...],
    output: Optional[str],
    key: str,
    message: str,
    owner: Optional[str],
    group: Optional[str],
    mode: int,
    dry_run: bool,
    verbose: bool,
) -> None:
    """Write an Exim lsearch file that defers mail to every user whom Cyrus IMAP refuses mail for.

    Reads the quota database that /etc/imapd.conf names, or the one given, and lists exactly the
    users who are over quota, as lmtpd sees it. Silent when all is well.
    """
    maps.deferral(message)
    source, problems = chosen.source, chosen.problems
    needs_all = chosen.server is not None or not source.naming.downcase
    sieve = None if needs_all else overquota.sieve(chosen.policy, chosen.reserve)
    counted = source.counted(sieve, problems)
    verdicts = list(
        overquota.verdicts(
            counted,
            source.naming,
            chosen.policy,
            reserve=chosen.reserve,
            server=chosen.server,
            on_problem=problems,
        )
    )
    if not counted.count and problems.count:
        advice = "not one of its records could be read"
        raise DataError(f"quota roots in {source.name}", advice=advice)
    entries = maps.entries(
        (verdict.recipient for verdict in verdicts),
        message=message,
        form=KeyForm(key),
        exempt=exempt,
    )
    content = lsearch.document(entries, _comments(chosen, counted.count, len(entries), verdicts))
    if dry_run:
        _tell_changes(output, content)
    elif output is None:
        sys.stdout.buffer.write(content)
    else:
        ownership = publish.Ownership(mode, owner, group)
        outcome = publish.publish(output, content, ownership, body=lsearch.body).value
        if verbose:
            complain(f"{output} {outcome}")
    if verbose:
        complain(
            f"{counted.count} quota roots read from {source.name}, {len(entries)} entries,"
            f" {problems.count} problems"
        )


def _comments(chosen: Chosen, roots: int, entries: int, verdicts: list[Verdict]) -> tuple[str, ...]:
    near = sum(not verdict.over for verdict in verdicts)
    return (
        f"Written by cyrusquota-export {__version__}; do not edit, the next run replaces it.",
        f"source: {chosen.source.name}",
        f"policy: {chosen.policy.name}",
        f"since: {time.strftime(_STAMP)}",
        f"roots: {roots}",
        f"entries: {entries}",
        f"near: {near}",
    )


def _tell_changes(output: Optional[str], content: bytes) -> None:
    old = publish.in_place(output) if output is not None else None
    before = set(lsearch.body(old or b"").splitlines())
    after = set(lsearch.body(content).splitlines())
    for sign, lines in ((b"+", after - before), (b"-", before - after)):
        for line in sorted(lines):
            click.echo(b"%b %b" % (sign, line))
    click.echo(
        f"{len(after - before)} entries would be added, {len(before - after)} removed,"
        f" {len(before & after)} kept"
    )


def main() -> NoReturn:
    """The console script."""
    run(export, "cyrusquota-export")


if __name__ == "__main__":
    main()
