"""Whether the mail server, the map and Exim agree on a user, and if not, why that may be.

The map is made from time to time, so a moment's difference is no fault; what points at one is
named together with what to do.
"""

from __future__ import annotations

import shlex
from typing import Iterator, Optional

import attrs

from cyrusquota.display.spans import age
from cyrusquota.explain.results import EximAnswer, MapAnswer, Reply, ServerAnswer
from cyrusquota.explain.user import User
from cyrusquota.mta.exim import Outcome

#: Seconds within which a map from cron has surely been renewed, with one run missed.
RECENT = 600


@attrs.frozen
class Difference:
    """Two who do not agree: how, why that may be, and what to do."""

    what: str
    why: str
    do: str


def differences(
    user: User, server: ServerAnswer, table: MapAnswer, exim: Optional[EximAnswer]
) -> tuple[Difference, ...]:
    """In what the three do not agree, the map first; nothing where they do."""
    return (*_map(user, server, table), *_exim(server, table, exim))


def _map(user: User, server: ServerAnswer, table: MapAnswer) -> Iterator[Difference]:
    refuses = server.reply.refuses_as_full
    if table.installed_map is None or (not table.is_believed and (refuses or table.refuses)):
        if refuses or table.installed_map is not None:
            yield _disbelieved(server, table)
    elif refuses and not table.refuses:
        yield _missing(user, server, table)
    elif table.refuses and server.reply is Reply.ACCEPTED:
        yield _listed(user, server, table)
    elif table.refuses and not refuses:
        what = f"the map defers mail for a user of whom {server.daemon} says {server.reply.value!r}"
        yield Difference(what, _since(table), _run(table))


def _disbelieved(server: ServerAnswer, table: MapAnswer) -> Difference:
    if table.installed_map is None:
        what = f"{server.daemon} refuses, and there is no map that Exim could go by"
        why, _, do = str(table.problem).partition("; ")
        return Difference(what, why, do)
    return Difference(
        "the router does not believe the map any more",
        f"it was renewed {age(table.age)} ago, and counts for {age(table.max_age or 0)}",
        "see why no export has renewed it since: cyrusquota doctor",
    )


def _missing(user: User, server: ServerAnswer, table: MapAnswer) -> Difference:
    what = f"{server.daemon} refuses, and the map has no entry"
    if user.listed is None:
        return Difference(
            what,
            "an export would not list this user, because the quota database and the header of the"
            " INBOX name different quota roots",
            f"quota -f {shlex.quote(user.name)} (as the Cyrus user) makes them agree",
        )
    if table.age > RECENT:
        return Difference(what, _since(table), _run(table))
    return Difference(
        what,
        f"the user became full since the map was renewed, {age(table.age)} ago, or is exempt"
        " (--exempt), or the map comes from another source"
        f" ({_source(table)})",
        "wait for the next run, or see what it would change: cyrusquota-export --dry-run -o"
        f" {shlex.quote(table.path)}",
    )


def _listed(user: User, server: ServerAnswer, table: MapAnswer) -> Difference:
    what = f"{server.daemon} accepts, and the map has an entry"
    assert table.installed_map is not None
    if user.listed is not None or table.installed_map.header.near:
        return Difference(
            what,
            "the map was written with --reserve, and also lists users who are nearly full",
            "nothing is wrong if this user is nearly full; else wait for the next run",
        )
    return Difference(what, f"there is room by now, and {_since(table)}", _run(table))


def _exim(
    server: ServerAnswer, table: MapAnswer, exim: Optional[EximAnswer]
) -> Iterator[Difference]:
    if exim is None or exim.outcome is None:
        return
    believed = table.refuses and table.is_believed
    notes = exim.router is not None and exim.router.only_notes
    if believed and exim.outcome is Outcome.ACCEPTED and not notes:
        yield Difference("the map has an entry, and Exim accepts", *_ignored(table, exim))
    elif not believed and exim.outcome is Outcome.DEFERRED:
        yield Difference(
            "Exim defers, and not because of the map",
            "another router or the lookup of the map fails",
            "see Exim's mainlog and paniclog, and ask it how it routes:"
            f" exim -d+route -bv {shlex.quote(exim.address)}",
        )
    elif exim.outcome is Outcome.REFUSED and not (believed and _is_final(table)):
        if server.reply is Reply.ACCEPTED or server.reply.refuses_as_full:
            yield Difference(
                "Exim refuses the address, which the mail server knows",
                "its domain is not among Exim's local domains, or a router before refuses it",
                f"see exim -d+route -bv {shlex.quote(exim.address)}, or name the address that"
                " senders use",
            )
    elif exim.outcome is Outcome.ACCEPTED and server.reply is Reply.UNKNOWN:
        yield Difference(
            "Exim accepts mail for a user whom Cyrus does not know",
            "no router asks whether the user exists, or an alias leads elsewhere",
            f"see where it would go: exim -bt {shlex.quote(exim.address)}",
        )


def _is_final(table: MapAnswer) -> bool:
    return (table.value or b"").startswith(b":fail:")


def _ignored(table: MapAnswer, exim: EximAnswer) -> tuple[str, str]:
    if exim.router is None:
        return "no router of Exim's asks the map", "put in the router: see exim/README.md"
    if exim.router.map != table.path:
        return (
            f"the router {exim.router.router.name} asks another map, {exim.router.map}",
            f"look there: --map {shlex.quote(exim.router.map)}, or set CYRUSQUOTA_MAP",
        )
    if exim.router.asks_for_local_parts and "@" in (table.key or ""):
        return (
            f"the router {exim.router.router.name} looks for local parts only",
            "take the router in exim/address, or a CYRUSQUOTA_KEY with the domain",
        )
    return (
        f"the router {exim.router.router.name} looks for another key than {table.key}, an alias"
        " leads elsewhere, or Exim may not read the map",
        "cyrusquota doctor tells which",
    )


def _since(table: MapAnswer) -> str:
    return f"the map was renewed {age(table.age)} ago, and comes from {_source(table)}"


def _source(table: MapAnswer) -> str:
    return (table.installed_map and table.installed_map.header.source) or "?"


def _run(table: MapAnswer) -> str:
    return f"run cyrusquota-export -o {shlex.quote(table.path)}, with the options of your crontab"
