"""cyrusquota-export: write the map of users whose mail Cyrus would refuse."""

from __future__ import annotations

import sys
from typing import Callable, NoReturn, Optional

import attrs
import click
from click.core import ParameterSource

from cyrusquota import __version__, maps, publish
from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.engine_options import EngineOptions, engine_options
from cyrusquota.cli.json_format import format_option, json_text
from cyrusquota.cli.map_options import (
    MapOptions,
    change_limits,
    exempt_option,
    key_option,
    map_value_options,
    ownership_options,
    service_map_options,
)
from cyrusquota.cli.on_change import ChangeCommand
from cyrusquota.cli.option_types import Seconds, file_names, size_given
from cyrusquota.cli.options import Options, RawOptions, source_options
from cyrusquota.cli.progress import progress
from cyrusquota.cli.run import advised, complain, run
from cyrusquota.errors import ConfigError, OptionError, count_of
from cyrusquota.maps import KeyForm
from cyrusquota.maps.header import MapHeader
from cyrusquota.maps.status import OVER
from cyrusquota.maps.values import MapValues
from cyrusquota.publish.guard import Change, Guard, Limits
from cyrusquota.publish.map_publisher import MapPublisher
from cyrusquota.publish.privileges import reading_as
from cyrusquota.site.role import elsewhere
from cyrusquota.verdicts.selection import evaluate

_LIMITS = Limits()
_who, _written, _how = under(Heading.WHO), under(Heading.WRITTEN), under(Heading.RUN)


@click.command(
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples=(
        Example("Show who would be listed, and write nothing", "cyrusquota-export --dry-run"),
        Example(
            "Write the map every five minutes, from cron",
            "cyrusquota-export --user cyrus -o /var/lib/cyrusquota/overquota",
        ),
        Example(
            "Stay running, as a service",
            "cyrusquota-export --follow --user cyrus -o /var/lib/cyrusquota/overquota",
        ),
    ),
)
@source_options
@exempt_option
@_written(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=file_names,
    help="The map; - is standard output.  [default: standard output]",
)
@key_option
@map_value_options
@_written(
    "--headroom",
    metavar="SIZE",
    callback=size_given,
    help="For users with less than this left, also write how much is left, as `free=BYTES`; for"
    " a router that compares it with the size of the message.",
)
@ownership_options("the map", "0644", needs="-o FILE")
@_written(
    "--max-change",
    metavar="LIMIT",
    needs="-o FILE or --store",
    multiple=True,
    callback=change_limits,
    help="Hold back a map, or a store, in which more entries are added or removed than both"
    " PERCENT% and COUNT: 20%,50, or added=20%,50, or removed=off (repeatable)."
    f"  [default: added={_LIMITS.added}, removed={_LIMITS.removed}]",
)
@_written(
    "--accept-change",
    metavar="N",
    needs="-o FILE",
    type=click.IntRange(min=0),
    help="Accept up to N changed entries in this run.",
)
@_written(
    "--wait",
    metavar="SECONDS",
    needs="-o FILE",
    type=Seconds(min=0),
    default=0,
    help="How long to wait for another run that writes the same map.  [default: not at all]",
)
@service_map_options
@_how(
    "--follow",
    is_flag=True,
    help="Stay running, and update the map within a second of each change.",
)
@_how(
    "--poll",
    metavar="SECONDS",
    needs="--follow",
    type=Seconds(min=0.05, max=10),
    default=0.4,
    show_default=True,
    help="With --follow: how often to look for changes.",
)
@engine_options(needs="--follow", with_store=True)
@format_option("lines with + and -", needs="--dry-run")
@_how("-n", "--dry-run", is_flag=True, help="Print what would change; write nothing.")
@_how("-v", "--verbose", is_flag=True, help="Print counts on standard error.")
@click.version_option(__version__, help="Show the version and exit.")
def export(
    raw: RawOptions,
    map_values: MapValues,
    headroom: int,
    exempt: tuple[str, ...],
    output: Optional[str],
    key: str,
    ownership: publish.Ownership,
    max_change: Limits,
    accept_change: Optional[int],
    wait: float,
    follow_links: bool,
    on_change: tuple[str, ...],
    follow: bool,
    poll: float,
    engine: EngineOptions,
    form: str,
    dry_run: bool,
    verbose: bool,
) -> None:
    """Write the map from which Exim defers mail for over-quota users.

    It reads the quota database that /etc/imapd.conf names, or the one given, and lists exactly the
    users whose next message lmtpd would refuse. It prints nothing when all is well.
    """
    map_values = attrs.evolve(map_values, reserve=raw.reserve, headroom=headroom)
    map_values.check()
    map_options = MapOptions(map_values, KeyForm(key), exempt, max_change)
    output = None if output == "-" else output
    publisher = MapPublisher(output or "-", map_values.format, ownership, wait, follow_links)
    command = ChangeCommand(on_change, complain)
    if follow:
        is_single = dry_run or accept_change is not None
        _check_follow(raw, output, engine, is_single=is_single)
        from cyrusquota.cli.follow import Service, Store

        store = None if engine.store is None else Store(engine.opened(), engine.store)
        local = None if output is None else publisher
        options = raw.load(waits=True)
        _check_role(raw, options, is_told=True, publishes=store is not None)
        Service(options, map_options, local, command, store).run(poll, verbose)
        return
    guard = Guard(publisher.summarize, map_options.limits, accept_change)
    options = raw.load()
    _check_role(raw, options, is_told=dry_run or verbose)
    builder = _MapBuilder(options, map_options)
    if dry_run:
        old = None if output is None else publisher.in_place()
        content = builder.content(old)
        print_changes = _print_json if form == "json" else _print_changes
        print_changes(output, _Difference.of(old, content, guard, publisher.body))
    elif output is None:
        sys.stdout.buffer.write(builder.content())
    else:
        with publisher.claim() as claim, advised(output):
            old = claim.in_place()
            content = builder.content(old)
            outcome = publisher.put(claim, content, guard)
        if outcome is publish.PublishResult.WRITTEN:
            command.changed()
            command.finish()
        if publisher.converted is not None:
            complain(f"{output}: was a map in the format {publisher.converted}; it is converted")
        if verbose:
            before, after = (publisher.summarize(found).keys for found in (old or b"", content))
            change = Change.between(before, after)
            complain(
                f"{output} {outcome.value}: {count_of(change.added, 'entry')} added,"
                f" {change.removed} removed, {change.kept} kept"
            )
    if verbose:
        complain(f"{builder.summary}, {count_of(options.problems.count, 'problem')}")


def _check_follow(
    raw: RawOptions, output: Optional[str], engine: EngineOptions, *, is_single: bool
) -> None:
    """Raise `OptionError` for what does not go with --follow."""
    if (output is None and engine.store is None) or is_single:
        raise OptionError(
            "--follow needs -o with the name of a file, or --store with that of a store, and"
            " excludes --dry-run and --accept-change; give those to a single run beside it"
        )
    if raw.is_stream:
        raise OptionError("--follow needs a database; leave --quota-output and --dump out")
    context = click.get_current_context()
    if context.get_parameter_source("engine") is ParameterSource.COMMANDLINE and not engine.store:
        raise OptionError("--engine needs --store with the name of the store that is published")


def _check_role(
    raw: RawOptions, options: Options, *, is_told: bool, publishes: bool = False
) -> None:
    """Warn on a frontend, which has no quotas, and where `is_told`, on a replica, which has copies.

    Raises `ConfigError` where either would publish: a replica would take the store from its master.
    """
    if options.conf is None or raw.db is not None or raw.is_stream:
        return
    with reading_as(options.user):
        reason = elsewhere(options.conf, options.site, with_replicas=is_told)
    if reason is None:
        return
    if publishes:
        raise ConfigError(f"--store: {reason}")
    options.problems.warn(reason)


@attrs.define
class _MapBuilder:
    """Builds the map from the source; `summary` says then what it was built from."""

    options: Options
    map_options: MapOptions
    summary: str = ""

    def content(self, old: Optional[bytes] = None) -> bytes:
        """Return the map. The number of roots in `old` serves the progress bar.

        Raises what keeps the source from being read.
        """
        options, map_values = self.options, self.map_options.values
        expected = (MapHeader.of(map_values.format.comments(old or b"")) or MapHeader()).roots
        query = options.query(map_values.effective_reserve)
        with reading_as(options.user):
            found = evaluate(
                options.source,
                query,
                lambda counted: progress(counted, lambda: counted.count, expected),
            )
        options.check_readable(found.roots)
        statuses = list(map_values.statuses(found.verdicts))
        entries = self.map_options.entries(statuses)
        name = options.source.name
        roots, listed = count_of(found.roots, "quota root"), count_of(len(entries), "entry")
        self.summary = f"{roots} read from {name}, {listed}"
        near = sum(status != OVER for _, status in statuses)
        header = MapHeader(
            name, query.policy.name, roots=found.roots, near=near, headers=query.headers
        )
        return maps.document(map_values.format, entries, header)


@attrs.frozen
class _Difference:
    """What a dry run found: lines of the body of the map, and why the guard objects, if it does."""

    added: list[bytes]
    removed: list[bytes]
    kept: int
    held_back: Optional[str]

    @classmethod
    def of(
        cls, old: Optional[bytes], content: bytes, guard: Guard, body: Callable[[bytes], bytes]
    ) -> _Difference:
        """Return what changes in the map `old`."""
        before = set(body(old or b"").splitlines())
        after = set(body(content).splitlines())
        rejection = guard(old, content) if old else None
        reason = None if rejection is None else rejection.reason
        return cls(sorted(after - before), sorted(before - after), len(before & after), reason)


def _print_changes(output: Optional[str], found: _Difference) -> None:
    for sign, lines in ((b"+", found.added), (b"-", found.removed)):
        for line in lines:
            click.echo(b"%b %b" % (sign, line))
    click.echo(
        f"{count_of(len(found.added), 'entry')} would be added, {len(found.removed)} removed,"
        f" {found.kept} kept"
    )
    if found.held_back is not None:
        click.echo(f"and would be held back: {found.held_back}")


def _print_json(output: Optional[str], found: _Difference) -> None:
    members = {
        "map": output,
        "added": [line.decode("utf-8", "surrogateescape") for line in found.added],
        "removed": [line.decode("utf-8", "surrogateescape") for line in found.removed],
        "kept": found.kept,
        "held_back": found.held_back,
    }
    click.echo(json_text(members))


def main() -> NoReturn:
    """Run `cyrusquota-export` and exit."""
    run(export, "cyrusquota-export")


if __name__ == "__main__":
    main()
