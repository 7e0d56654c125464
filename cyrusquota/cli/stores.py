"""cyrusquota stores: what the backends publish, and who still does."""

from __future__ import annotations

from typing import Iterable, Mapping, Optional, Sequence

import attrs
import click

from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.engine_options import EngineOptions, engine_options, store_names
from cyrusquota.cli.json_format import format_option, json_text
from cyrusquota.cli.option_types import Seconds
from cyrusquota.display.table import Column, Table, joined
from cyrusquota.engine import watch
from cyrusquota.engine.interface import Engine
from cyrusquota.engine.protocol import BEAT, check_store_name
from cyrusquota.engine.watch import WATCHED, WatchedStore
from cyrusquota.errors import OptionError, count_of, printable

#: More users than this are only counted.
MAX_NAMES = 20
_COLUMNS = (
    Column("STORE", to_right=False),
    Column("STATE", to_right=False),
    Column("WRITE", to_right=False),
    Column("ENTRIES"),
    Column("PUBLISHER", to_right=False),
)
_how = under(Heading.RUN)


@click.command(
    "stores",
    cls=Command,
    examples=(
        Example("Show the stores, and which of them are still written", "cyrusquota stores"),
        Example("Remove one that no backend publishes any more", "cyrusquota stores --forget old"),
        Example(
            "Accept a change that the publisher holds back",
            "cyrusquota stores --accept-change store1 500",
        ),
    ),
)
@engine_options()
@under(Heading.ENGINE)(
    "--expect",
    metavar="NAMES",
    callback=store_names,
    help="Stores that should be there, with commas between them.",
)
@under(Heading.ENGINE)(
    "--forget",
    metavar="STORE",
    help="Remove this store. Its publisher, if it still runs, brings it back.",
)
@under(Heading.ENGINE)(
    "--accept-change",
    type=(str, click.IntRange(0, 10**9 - 1)),
    metavar="STORE N",
    help="Let the publisher of this store change up to N entries at once.",
)
@format_option()
@_how(
    "--watch",
    "seconds",
    metavar="SECONDS",
    type=Seconds(min=0, max=600),
    default=WATCHED,
    show_default=True,
    help=f"How long to watch, at most: a publisher writes every {BEAT:g} seconds at least.",
)
def stores(
    engine: EngineOptions,
    expect: tuple[str, ...],
    forget: Optional[str],
    accept_change: Optional[tuple[str, int]],
    form: str,
    seconds: float,
) -> None:
    """Show the stores that backends publish, and which of them are still written.

    It watches them for some seconds, because no clock in the engine could tell. A store is silent
    if nobody writes to it meanwhile; a minute later its users are not deferred any more.
    """
    if forget is not None and accept_change is not None:
        raise OptionError("--forget and --accept-change exclude one another; give one of them")
    opened = engine.opened()
    try:
        if forget is not None:
            _forget(opened, forget)
        elif accept_change is not None:
            _accept(opened, *accept_change)
        else:
            _show(opened, expect, seconds, form)
    finally:
        opened.close()


def _forget(engine: Engine, name: str) -> None:
    check_store_name(name)
    status = engine.status(name)
    if status is None:
        raise _no_such_store(engine, name)
    if not engine.forget(name, status.stamp).accepted:
        raise OptionError(
            f"--forget {name}: {status.holder} is writing to it; stop that publisher first"
        )
    click.echo(f"store {name}: removed, with {count_of(status.entries, 'entry')}")


def _accept(engine: Engine, name: str, count: int) -> None:
    check_store_name(name)
    if not engine.accept(name, count).accepted:
        raise _no_such_store(engine, name)
    click.echo(
        f"store {name}: the next change may have up to {count} entries; its publisher takes that"
        " up within some seconds"
    )


def _no_such_store(engine: Engine, name: str) -> OptionError:
    known = ", ".join(watch.names(engine)) or "none"
    return OptionError(f"store {name}: is not there; the stores in {engine.name} are: {known}")


def _show(engine: Engine, expect: Iterable[str], seconds: float, form: str) -> None:
    found = watch.watched(engine, watch.names(engine, expect), seconds)
    claims = watch.claims(engine, [one.name for one in found if one.status is not None])
    found = [attrs.evolve(one, problem=claims.problems.get(one.name, one.problem)) for one in found]
    if form == "json":
        click.echo(json_text(_object(engine.name, seconds, found, claims.by_key)))
        return
    for line in Table(_COLUMNS).lines([_row(one) for one in found]):
        click.echo(line.rstrip())
    for one in found:
        if one.problem:
            click.echo(printable(one.problem))
    if claims.by_key:
        click.echo(f"{count_of(len(claims.by_key), 'user')} in more than one store:")
    for key, names in [*claims.by_key.items()][:MAX_NAMES]:
        click.echo(f"  {printable(key)}: {', '.join(names)}")


def _row(one: WatchedStore) -> str:
    status = one.status
    if status is None:
        return joined((one.name, one.state, "-", "-", "-"))
    return joined((one.name, one.state, str(status.stamp), str(status.entries), status.holder))


def _object(
    engine: str,
    seconds: float,
    found: Sequence[WatchedStore],
    claimed: Mapping[bytes, Sequence[str]],
) -> Mapping[str, object]:
    return {
        "engine": engine,
        "watched": seconds,
        "stores": [_store_object(one) for one in found],
        "claimed_twice": [
            {"address": key.decode("utf-8", "surrogateescape"), "stores": names}
            for key, names in claimed.items()
        ],
    }


def _store_object(one: WatchedStore) -> Mapping[str, object]:
    status = one.status
    return {
        "store": one.name,
        "state": one.state,
        "gen": None if status is None else status.stamp.gen,
        "seq": None if status is None else status.stamp.seq,
        "entries": None if status is None else status.entries,
        "publisher": None if status is None else status.holder,
        "accept": None if status is None else status.accept,
        "problem": one.problem or None,
    }
