"""cyrusquota explain: explain one user's quota status."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Callable, Optional

import click

from cyrusquota.cli import settings
from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.engine_options import EngineOptions, engine_options, mirrored
from cyrusquota.cli.exim_options import exim_options
from cyrusquota.cli.json_format import format_option, json_text
from cyrusquota.cli.map_options import MapOptions, comparison_options, of_export
from cyrusquota.cli.options import Options, RawOptions, source_options
from cyrusquota.cli.scan import scan
from cyrusquota.cli.terminal import terminal
from cyrusquota.cyrus import imapdconf
from cyrusquota.cyrus.names import ascii_lower
from cyrusquota.doctor.export_command import ExportCommand
from cyrusquota.doctor.schedule import Schedule
from cyrusquota.explain import user
from cyrusquota.explain.export import Export
from cyrusquota.explain.inquiry import Host, explained
from cyrusquota.explain.json_object import as_json
from cyrusquota.explain.render import as_text
from cyrusquota.explain.verdict import Level
from cyrusquota.maps.installed import InstalledMap
from cyrusquota.mta.exim import Exim
from cyrusquota.publish.preview import Preview
from cyrusquota.publish.privileges import reading_as
from cyrusquota.site.source import Source

#: The longest line on a terminal.
_MAX_WIDTH = 100
_COLOURS = {Level.GOOD: "green", Level.LIMITED: "yellow", Level.WRONG: "red"}


@click.command(
    "explain",
    cls=Command,
    examples=(
        Example("Explain why a user gets no mail", "cyrusquota explain jane@example.org"),
        Example("Ask Cyrus and the map, not Exim", "cyrusquota explain --no-exim user.jane"),
        Example("Give the same to a program", "cyrusquota explain --format json jane"),
    ),
)
@source_options
@exim_options
@comparison_options
@under(Heading.MAP)(
    "--mirror",
    is_flag=True,
    help="On an MX without Cyrus: say what the map of cyrusquota-mirror says, and which stores list"
    " the user.",
)
@engine_options()
@format_option()
@click.argument("asked", metavar="ADDRESS")
def explain_user(
    raw: RawOptions,
    path: Optional[str],
    mta: Optional[Exim],
    map_options: MapOptions,
    mirror: bool,
    engine: EngineOptions,
    form: str,
    asked: str,
) -> None:
    """Explain one user's quota status.

    ADDRESS is a mail address or a local part, with or without a +detail or the <> of a log, or the
    name of a mailbox such as user.jane or example.org!user.jane. The first line says what becomes
    of mail for it. The rest is the quota root that governs the user, what lmtpd answers for the
    next message, what the map says, what Exim answers, and why they do not agree, if so. For an
    alias, it is about the user whom the alias leads to. Nothing is changed or delivered. The exit
    status is 0 whatever the answer, and 67 for an unknown user.
    """
    asked = asked[1:-1] if asked.startswith("<") and asked.endswith(">") else asked
    user.check(asked)
    if mirror:
        _explain_on_mx(asked, engine, form)
        return
    options = raw.load()
    host = Host(
        _sources(raw, options),
        options.query(),
        options.conf,
        mta,
        path,
        export=lambda of: _export(raw, options, map_options, of),
        reading=functools.partial(reading_as, options.user),
    )
    explanation = explained(asked, host)
    if form == "json":
        click.echo(json_text(as_json(explanation)))
        return
    screen = terminal()
    width = None if screen.width is None else min(screen.width, _MAX_WIDTH)
    verdict, rest = as_text(explanation, width, lambda command: screen.coloured(command, "cyan"))
    click.echo(screen.coloured(verdict, _COLOURS[explanation.verdict.level]))
    click.echo(rest)


def _sources(raw: RawOptions, options: Options) -> Callable[[], Source]:
    """Return a function that gives the source, which a stream is opened again for."""
    unread = [options.source]

    def source() -> Source:
        if not raw.is_stream:
            return options.source
        return unread.pop() if unread else options.reload().source

    return source


def _explain_on_mx(asked: str, engine: EngineOptions, form: str) -> None:
    from cyrusquota.explain import on_mx

    path = mirrored(click.get_current_context(), "path")
    with contextlib.closing(engine.opened()) as opened:
        found = on_mx.explained(asked, path, opened)
    if form == "json":
        click.echo(json_text(on_mx.as_object(found)))
    else:
        for line in on_mx.as_text(found):
            click.echo(line)


def _export(raw: RawOptions, options: Options, given: MapOptions, path: str) -> Export:
    """Return what is known here of the export that writes the map at `path`."""
    context = click.get_current_context()
    schedule = Schedule.below(Path("/"))
    exports_to = settings.exported(context)
    config = raw.config or imapdconf.DEFAULT_PATH
    command = ExportCommand.on_host(schedule, path, exports_to, config)
    map_options, place = given, settings.place(context, "exempt") or "--exempt"
    job = next(schedule.writing(path, exports_to), None)
    if job is not None:
        map_options = of_export(command.words, given, context)
        place = place if map_options.exempt == given.exempt else f"--exempt in {job.name}"
    return Export(
        options.source.name,
        {ascii_lower(name): place for name in map_options.exempt},
        schedule,
        command,
        lambda table: None if raw.is_stream else _preview(options, map_options, table),
        exports_to,
        map_options.values.reserve,
        map_options.key,
    )


def _preview(options: Options, map_options: MapOptions, table: InstalledMap) -> Preview:
    """Return the map that an export would write now."""
    found = scan(options, map_options.values.effective_reserve)
    return map_options.preview(table, found.verdicts, found.roots, options.source.name)
