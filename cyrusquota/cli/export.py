"""cyrusquota-export: write the map of users whose mail Cyrus would refuse."""

from __future__ import annotations

import gc
import sys
from typing import Callable, NoReturn, Optional

import attrs
import click

from cyrusquota import __version__, maps, publish
from cyrusquota.cli._answers import answer_options
from cyrusquota.cli._complete import file_names
from cyrusquota.cli._map import comments, put, teller
from cyrusquota.cli._mode import mode_bits
from cyrusquota.cli._progress import progress
from cyrusquota.cli._run import Command, complain, run
from cyrusquota.cli._source import Chosen, source_options
from cyrusquota.errors import OptionError
from cyrusquota.guard import Change, Guard, Limits, Told
from cyrusquota.maps import Format, KeyForm
from cyrusquota.maps.answers import Answers
from cyrusquota.privileges import reading_as
from cyrusquota.refusals import Refusals, refusals

_LIMITS = Limits()


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@source_options
@click.option(
    "--exempt",
    metavar="ADDRESS",
    multiple=True,
    help="Never list this address or local part (repeatable; postmaster never is).",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=file_names,
    help="The map.  [default: standard output]",
)
@click.option(
    "--key",
    type=click.Choice([form.value for form in KeyForm]),
    default=KeyForm.AUTO.value,
    show_default=True,
    help="What Exim looks up: the address where a domain is known (auto), always the address, or"
    " the local part, for hosts with one domain.",
)
@answer_options
@click.option("--owner", metavar="USER", help="Owner of the map.  [default: whoever runs this]")
@click.option("--group", metavar="GROUP", help="Group of the map.  [default: as for a new file]")
@click.option(
    "--mode",
    metavar="MODE",
    callback=mode_bits,
    default="0644",
    show_default=True,
    help="Mode of the map, in octal.",
)
@click.option(
    "--max-change",
    metavar="LIMIT",
    multiple=True,
    help="Hold back a map with more entries added or removed than PERCENT%,COUNT, both exceeded:"
    " 20%,50, or added=20%,50, or removed=off (repeatable)."
    f"  [default: added={_LIMITS.added}, removed={_LIMITS.removed}]",
)
@click.option(
    "--accept-change",
    metavar="N",
    type=click.IntRange(min=0),
    help="In this run let N added and removed entries pass instead, and not one more.",
)
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=0,
    help="How long to wait for another run on the same map.  [default: not at all]",
)
@click.option("--follow-links", is_flag=True, help="If the map is a symbolic link, follow it.")
@click.option(
    "--follow",
    is_flag=True,
    help="Stay running, and renew the map within a second of each change.",
)
@click.option(
    "--poll",
    metavar="SECONDS",
    type=click.FloatRange(min=0.05, max=10),
    default=0.5,
    show_default=True,
    help="With --follow: how often to look for changes.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Say what would change, write nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Tell the numbers on standard error.")
@click.version_option(__version__)
def export(
    chosen: Chosen,
    answers: Answers,
    exempt: tuple[str, ...],
    output: Optional[str],
    key: str,
    owner: Optional[str],
    group: Optional[str],
    mode: int,
    max_change: tuple[str, ...],
    accept_change: Optional[int],
    wait: float,
    follow_links: bool,
    follow: bool,
    poll: float,
    dry_run: bool,
    verbose: bool,
) -> None:
    """Write a map by which Exim defers mail to every user whom Cyrus IMAP refuses mail for.

    Reads the quota database that /etc/imapd.conf names, or the one given, and lists exactly the
    users who are over quota, as lmtpd sees it. Silent when all is well.
    """
    told = teller(answers.format)
    ownership = publish.Ownership(mode, owner, group)
    guard = Guard(told, Limits.of(max_change), accept_change)
    if follow:
        if output is None or dry_run or accept_change is not None:
            raise OptionError(
                "--follow needs --output, and goes neither with --dry-run nor with --accept-change;"
                " give those to a single run beside it"
            )
        from cyrusquota.cli._follow import Export, Place

        place = Place(output, ownership, wait, follow_links)
        Export(chosen, exempt, KeyForm(key), answers, place, guard.limits).run(poll, verbose)
        return
    listing = _Listing(chosen, exempt, KeyForm(key), answers)
    if output is None:
        content = listing.content()
        _tell_changes(None, content, guard, answers.format) if dry_run else sys.stdout.buffer.write(
            content
        )
    elif dry_run:
        old = publish.in_place(output, follow_links=follow_links)
        _tell_changes(old, listing.content(old), guard, answers.format)
    else:
        with publish.claim(output, wait=wait, follow_links=follow_links) as claim:
            old = claim.in_place()
            content = listing.content(old)
            outcome = put(claim, content, ownership, guard, output, answers.format)
        if verbose:
            complain(f"{output} {outcome.value}: {_numbers(told, old, content)}")
    if verbose:
        complain(f"{listing.summary}, {chosen.problems.count} problems")


@attrs.define
class _Listing:
    """The map to be, made from the source, and what to say of it."""

    chosen: Chosen
    exempt: tuple[str, ...]
    form: KeyForm
    answers: Answers
    summary: str = ""

    def content(self, old: Optional[bytes] = None) -> bytes:
        """The map; `old`, the one in place, tells how long reading may take."""
        told = Told.by(self.answers.format.header(old or b""), frozenset())
        with reading_as(self.chosen.user):
            found = self._read(told.roots)
        values = self.answers.values(found.verdicts)
        entries = maps.entries(values, form=self.form, exempt=self.exempt)
        name = self.chosen.source.name
        self.summary = f"{found.roots} quota roots read from {name}, {len(entries)} entries"
        near = sum(not verdict.over for verdict in found.verdicts)
        texts = comments(self.chosen, found.roots, len(entries), near)
        return self.answers.format.document(entries, texts)

    def _read(self, expected: Optional[int]) -> Refusals:
        source, problems = self.chosen.source, self.chosen.problems
        found = refusals(
            source,
            self.chosen.policy,
            self.answers.wanted,
            self.chosen.server,
            problems,
            lambda counted: progress(counted, lambda: counted.count, expected),
        )
        if not found.roots and problems.in_data:
            raise source.unreadable()
        return found


def _tell_changes(old: Optional[bytes], content: bytes, guard: Guard, written: Format) -> None:
    before = set(written.body(old or b"").splitlines())
    after = set(written.body(content).splitlines())
    for sign, lines in ((b"+", after - before), (b"-", before - after)):
        for line in sorted(lines):
            click.echo(b"%b %b" % (sign, line))
    click.echo(
        f"{len(after - before)} entries would be added, {len(before - after)} removed,"
        f" {len(before & after)} kept"
    )
    held = guard(old, content) if old else None
    if held is not None:
        click.echo(f"and would be held back: {held.reason}")


def _numbers(told: Callable[[bytes], Told], old: Optional[bytes], content: bytes) -> str:
    change = Change.between(told(old or b"").keys, told(content).keys)
    return f"{change.added} entries added, {change.removed} removed, {change.kept} kept"


def main() -> NoReturn:
    """The console script."""
    # The search for reference cycles takes a tenth of a large run, which makes none.
    gc.disable()
    run(export, "cyrusquota-export")


if __name__ == "__main__":
    main()
