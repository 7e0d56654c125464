"""The options about maps: what one says of each user, how much it may change, who owns the file."""

from __future__ import annotations

import functools
import re
from typing import Any, Callable, Iterable, Optional, Sequence

import attrs
import click
from click.core import ParameterSource

from cyrusquota import maps
from cyrusquota.cli.command import Heading, under
from cyrusquota.cli.on_change import command_words
from cyrusquota.cli.option_types import size_given
from cyrusquota.cli.options import RawOptions
from cyrusquota.cyrus.names import Recipient
from cyrusquota.maps import Entry, KeyForm
from cyrusquota.maps.installed import InstalledMap
from cyrusquota.maps.status import Status
from cyrusquota.maps.values import MapValues
from cyrusquota.publish import Ownership
from cyrusquota.publish.guard import Limits
from cyrusquota.publish.preview import Preview, preview
from cyrusquota.publish.privileges import group_id, user_id
from cyrusquota.verdicts.evaluator import Verdict


@attrs.frozen
class MapOptions:
    """What a map says, of whom, under which keys, and how much it may change."""

    values: MapValues
    key: KeyForm
    exempt: tuple[str, ...]
    limits: Limits
    _spared: frozenset[bytes] = attrs.field(
        default=attrs.Factory(lambda self: maps.never_listed(self.exempt), takes_self=True),
        init=False,
        eq=False,
    )

    def entries(self, statuses: Iterable[tuple[Recipient, Status]]) -> list[Entry]:
        """Return the entries for `statuses`, those of exempt recipients left out."""
        values = ((to, self.values.of(status)) for to, status in statuses)
        return maps.entries(values, form=self.key, exempt=self.exempt)

    def entry(self, to: Recipient, status: Status) -> tuple[Entry, ...]:
        """Return what `entries` does for one recipient: an entry, or none if they are exempt."""
        key = maps.key_of(to, self.key, self._spared)
        return () if key is None else (Entry(key, self.values.of(status)),)

    def preview(
        self, found: InstalledMap, verdicts: Iterable[Verdict], roots: int, source: str
    ) -> Preview:
        """Return what an export from `roots` quota roots of `source` would make of `found` now."""
        statuses = attrs.evolve(self.values, format=maps.FORMATS[found.format]).statuses(verdicts)
        return preview(
            found, self.entries(statuses), roots=roots, source=source, limits=self.limits
        )


def exempt_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --exempt."""
    return under(Heading.WHO)(
        "--exempt",
        metavar="ADDRESS",
        multiple=True,
        help="Never list this address or local part (repeatable; postmaster never is).",
    )(command)


def key_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --key."""
    return _written(
        "--key",
        type=click.Choice([form.value for form in KeyForm]),
        default=KeyForm.AUTO.value,
        show_default=True,
        help="What Exim looks up. auto: the address where a domain is known, or else the local"
        " part; address: always the address; local: the local part, for hosts with one domain.",
    )(command)


def service_map_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command with -o --follow-links and --on-change."""
    options = (
        _written(
            "--follow-links",
            is_flag=True,
            needs="-o FILE",
            help="If the map is a symbolic link, follow it.",
        ),
        _written(
            "--on-change",
            metavar="COMMAND",
            needs="-o FILE",
            callback=command_words,
            help="Run COMMAND after the map has changed: without a shell, with the rights of this"
            " process, for at most 30 seconds. Its failure is reported, and changes nothing.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def change_limits(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> Limits:
    """Return what `--max-change` allows; raise `OptionError` for no limit."""
    return Limits.of(given)


_written = under(Heading.WRITTEN)
_VALUE_OPTIONS = (
    _written(
        "--map-format",
        type=click.Choice(list(maps.FORMATS)),
        default="lsearch",
        show_default=True,
        help="Format of the map: lsearch or cdb for Exim, postfix for an access table of Postfix.",
    ),
    _written(
        "--message",
        metavar="TEXT",
        help=f"The text of the reply to the sender, at most {maps.MAX_MESSAGE} bytes."
        f"  [default: {maps.DEFAULT_MESSAGE}]",
    ),
    _written(
        "--refuse",
        is_flag=True,
        help="Refuse mail permanently (552 5.2.2) instead of deferring it, as Cyrus does with"
        " lmtp_over_quota_perm_failure; needs the router for it.",
    ),
)
_FILE_MODE = re.compile("0?[0-7]{1,3}", re.ASCII)


def map_value_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options, and `map_values`, which they amount to."""

    @functools.wraps(command)
    def wrapped(map_format: str, message: Optional[str], refuse: bool, **options: Any) -> Any:
        map_values = MapValues(maps.FORMATS[map_format], message, refuse)
        map_values.check()
        return command(map_values=map_values, **options)

    for option in reversed(_VALUE_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


_map = under(Heading.MAP)
_COMPARISON_OPTIONS = (
    _map(
        "--key",
        type=click.Choice([form.value for form in KeyForm]),
        default=KeyForm.AUTO.value,
        show_default=True,
        help="The keys of the map.",
    ),
    _map(
        "--exempt",
        metavar="ADDRESS",
        multiple=True,
        help="An address or local part that the map never lists (repeatable; postmaster never is).",
    ),
    _map(
        "--headroom",
        metavar="SIZE",
        callback=size_given,
        help="The map also lists users with less than this left.",
    ),
    _map(
        "--max-change",
        metavar="LIMIT",
        multiple=True,
        callback=change_limits,
        help=f"How much the map may change (repeatable).  [default: added={Limits().added},"
        f" removed={Limits().removed}]",
    ),
)


def comparison_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command with `raw` the options of the export that a map depends on, as `map_options`.

    With them it can tell which map an export would write now, and ask the guard about it.
    """

    @functools.wraps(command)
    def wrapped(
        raw: RawOptions,
        key: str,
        exempt: tuple[str, ...],
        headroom: int,
        max_change: Limits,
        **options: Any,
    ) -> Any:
        values = MapValues(maps.FORMATS["lsearch"], reserve=raw.reserve, headroom=headroom)
        map_options = MapOptions(values, KeyForm(key), exempt, max_change)
        return command(raw=raw, map_options=map_options, **options)

    for option in reversed(_COMPARISON_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def of_export(words: Sequence[str], known: MapOptions, context: click.Context) -> MapOptions:
    """Return `known` with what the command line `words` of an export says about its map.

    What the command of `context` was given stays.
    """
    # That module needs this one.
    from cyrusquota.cli.export import export

    # Wrong options are the affair of the export itself.
    parsed = export.make_context(words[0], list(words[1:]), resilient_parsing=True)

    def value(name: str, default: Any) -> Any:
        source = context.get_parameter_source(name)
        is_named = parsed.get_parameter_source(name) is ParameterSource.COMMANDLINE
        is_free = source in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
        found = parsed.params.get(name) if is_named and is_free else None
        return default if found is None else found

    values = attrs.evolve(
        known.values,
        reserve=value("reserve", known.values.reserve),
        headroom=value("headroom", known.values.headroom),
    )
    return MapOptions(
        values,
        KeyForm(value("key", known.key)),
        value("exempt", known.exempt),
        value("max_change", known.limits),
    )


def ownership_options(
    what: str, default_mode: str, *, needs: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options for `what` it writes, and `ownership`, with ids for names.

    `needs` is the option that names the file.
    """
    options = (
        _written(
            "--owner",
            metavar="USER",
            callback=lambda context, parameter, name: None if name is None else user_id(name),
            needs=needs,
            help=f"The owner of {what}.  [default: the user who runs this]",
        ),
        _written(
            "--group",
            metavar="GROUP",
            callback=lambda context, parameter, name: None if name is None else group_id(name),
            needs=needs,
            help=f"The group of {what}.  [default: as for a new file]",
        ),
        _written(
            "--mode",
            metavar="MODE",
            needs=needs,
            callback=_file_mode,
            default=default_mode,
            show_default=True,
            help=f"The mode of {what}, in octal.",
        ),
    )

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapped(owner: Optional[int], group: Optional[int], mode: int, **given: Any) -> Any:
            ownership = Ownership(mode, owner, group)
            return command(ownership=ownership, **given)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorated


def _file_mode(context: click.Context, parameter: click.Parameter, value: str) -> int:
    if not _FILE_MODE.fullmatch(value):
        raise click.BadParameter(f"expected an octal mode such as 0644, found {value!r}")
    return int(value, 8)
