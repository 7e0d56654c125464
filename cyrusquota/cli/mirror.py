"""cyrusquota-mirror: keep the map of an MX, from what all backends publish."""

from __future__ import annotations

import contextlib
import time
from typing import Callable, Iterable, NoReturn, Optional

import click

from cyrusquota import __version__, publish
from cyrusquota.cli import service
from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.engine_options import EngineOptions, engine_options, store_names
from cyrusquota.cli.map_options import (
    MapOptions,
    exempt_option,
    key_option,
    map_value_options,
    ownership_options,
    service_map_options,
)
from cyrusquota.cli.on_change import ChangeCommand
from cyrusquota.cli.option_types import file_names
from cyrusquota.cli.run import complain, run
from cyrusquota.cli.service import ServiceMap
from cyrusquota.cyrus.names import Recipient
from cyrusquota.engine import protocol, report
from cyrusquota.engine.interface import Engine
from cyrusquota.engine.mirror import GROWTH, Mirror
from cyrusquota.errors import CyrusQuotaError, OptionError, count_of
from cyrusquota.follow import FollowPublisher, MapEntries, Notices
from cyrusquota.follow.pace import MapPace
from cyrusquota.maps import Entry, Format, KeyForm
from cyrusquota.maps.header import MapHeader
from cyrusquota.maps.status import Status, size_left
from cyrusquota.maps.values import MapValues
from cyrusquota.publish.guard import Limits
from cyrusquota.publish.map_publisher import MapPublisher

#: Seconds between two maps. The backends collect changes before the mirror does.
_DEBOUNCE = 0.25
_written, _how = under(Heading.WRITTEN), under(Heading.RUN)


@click.command(
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples=(
        Example(
            "Stay running, and keep the map for Exim",
            "cyrusquota-mirror --engine rediss://redis -o /var/lib/cyrusquota/overquota",
        ),
        Example(
            "Report where one of two stores is missing",
            "cyrusquota-mirror --expect store1,store2 -o /var/lib/cyrusquota/overquota",
        ),
    ),
)
@engine_options()
@under(Heading.ENGINE)(
    "--expect",
    metavar="NAMES",
    callback=store_names,
    help="The stores that should be there, with commas between them: a missing one is reported, and"
    " after a start the map in place stays until all of them are there, or for a minute. Others are"
    " followed too.",
)
@exempt_option
@_written("-o", "--output", metavar="FILE", shell_complete=file_names, help="The map.")
@key_option
@map_value_options
@ownership_options("the map", "0644", needs="-o FILE")
@_written(
    "--max-change",
    metavar="LIMIT",
    multiple=True,
    callback=lambda context, parameter, given: Limits.of(("removed=off", *given)),
    help="Do not believe a store that suddenly has more entries than both PERCENT% and COUNT:"
    " 20%,50, or added=off (repeatable). That a store is not renewed any more is always believed."
    f"  [default: added={GROWTH.added}]",
)
@service_map_options
@_how("-v", "--verbose", is_flag=True, help="Print what changes on standard error.")
@click.version_option(__version__, help="Show the version and exit.")
def mirror(
    engine: EngineOptions,
    expect: tuple[str, ...],
    exempt: tuple[str, ...],
    output: Optional[str],
    key: str,
    map_values: MapValues,
    ownership: publish.Ownership,
    max_change: Limits,
    follow_links: bool,
    on_change: tuple[str, ...],
    verbose: bool,
) -> None:
    """Keep the map of over-quota users on an MX, from what the backends publish.

    On each backend `cyrusquota-export --follow --store NAME` publishes who is over quota. This
    service stays running, and writes the map for Exim or Postfix on this host within a second of
    each change. A store that is not renewed for a minute does not count any more, so its users are
    not deferred. It needs no root and no Cyrus.
    """
    if output is None or output == "-":
        raise OptionError("-o: expected the name of a file, such as /var/lib/cyrusquota/overquota")
    opened = engine.opened()
    notices = service.notices(verbose=verbose)
    publisher = MapPublisher(output, map_values.format, ownership, follow_links=follow_links)
    in_place = ServiceMap(
        # Each store has limits of its own, and what lapses is never held back.
        FollowPublisher(publisher, limits=None, names_changes=verbose),
        ChangeCommand(on_change, complain),
        notices,
    )
    map_options = MapOptions(map_values, KeyForm(key), exempt, max_change)
    with contextlib.closing(opened):
        service.serve(Mirroring(opened, in_place, map_options, notices, expect), notices)


class Mirroring:
    """A mirror, and the map that it keeps."""

    def __init__(
        self,
        engine: Engine,
        in_place: ServiceMap,
        map_options: MapOptions,
        notices: Notices,
        expect: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._map = in_place
        self._notices = notices
        self._clock = clock
        self._reported: tuple[object, ...] = ()
        self._reported_at = float("-inf")
        self._map_options = map_options
        #: Users whose backend knows no domain, where the map has addresses.
        self._nameless: set[bytes] = set()
        self._entries = MapEntries(self._entries_of, map_options.values.format.row)
        self._mirror = Mirror(
            engine,
            self,
            notices=notices,
            expect=expect,
            limits=map_options.limits,
            clock=clock,
        )
        self._pace = MapPace(notices, clock, protocol.LAPSE / 2, _DEBOUNCE)
        self._has_sizes = _compares_sizes(map_options.values.format)

    @property
    def summary(self) -> str:
        stores = self._mirror.stores()
        fresh = sum(store.is_fresh for store in stores)
        return (
            f"{fresh} of {count_of(len(stores), 'store')} fresh,"
            f" {count_of(len(self._entries), 'entry')}"
        )

    def step(self) -> float:
        seconds = self._mirror.step()
        self._report_nameless()
        version = self._entries.version
        if self._mirror.is_settled and (self._mirror.is_alive or not self._pace.has_put(version)):
            # Without a sign of life the map gets old.
            self._pace.step(version, lambda: self._map.put(self._put))
        self._map.command.step()
        self._report_if_due()
        return seconds

    def _report_if_due(self) -> None:
        """Tell monitoring on this host how the stores are: at once after a change, or again."""
        found = report.made(self._engine.name, self._mirror, len(self._nameless))
        states = tuple((one.store, one.state, one.is_doubted) for one in found.stores)
        seen = (bool(self._nameless), *states)
        now = self._clock()
        if seen == self._reported and now - self._reported_at < protocol.LAPSE / 2:
            return
        self._reported, self._reported_at = seen, now
        maps = self._map.publisher.maps
        try:
            publish.publish(report.place(maps.path), found.content(), maps.ownership)
        except CyrusQuotaError as error:
            self._notices.wrong("report", str(error))
        else:
            self._notices.right("report")

    def fds(self) -> list[int]:
        return []

    def reload(self) -> None:
        """Connect again, with the password and the certificates that there are now."""
        self._engine.close()

    def put(self, key: bytes, status: Status) -> None:
        """List a key; called by the mirror."""
        to = protocol.recipient_of(key)
        if self._map_options.key is KeyForm.ADDRESS and to.domain is None:
            self._nameless.add(key)
        else:
            self._entries.put(key, to, status)

    def drop(self, key: bytes) -> None:
        """Remove a key; called by the mirror."""
        if key in self._nameless:
            self._nameless.remove(key)
        else:
            self._entries.drop(key)

    def _report_nameless(self) -> None:
        """Tell that a backend does not know the domains of its users; those of others count."""
        if not self._nameless:
            self._notices.right("key")
            return
        users = count_of(len(self._nameless), "user")
        self._notices.wrong(
            "key",
            f"--key address: no domain is known for {users}, so they are not listed; set"
            " virtdomains and defaultdomain in the imapd.conf of their backend, or use --key local"
            " here and in the router",
        )

    def _put(self) -> None:
        fresh = sum(store.is_fresh for store in self._mirror.stores())
        self._map.publisher.put(self._entries, MapHeader(self._engine.name, stores=fresh))

    def _entries_of(self, to: Recipient, status: Status) -> Iterable[Entry]:
        if not self._has_sizes and size_left(status) is not None:
            return ()
        return self._map_options.entry(to, status)


def _compares_sizes(written: Format) -> bool:
    """Return whether a map in this format can say how much is left."""
    try:
        written.space_left(0)
    except OptionError:
        return False
    return True


def main() -> NoReturn:
    """Run `cyrusquota-mirror` and exit."""
    run(mirror, "cyrusquota-mirror")


if __name__ == "__main__":
    main()
