"""What each of the three says of one user: the mail server, the map in place, and Exim."""

from __future__ import annotations

import enum
import shlex
from typing import Iterator, Optional

import attrs

from cyrusquota.cyrus.names import ascii_lower
from cyrusquota.display.sizes import duration
from cyrusquota.errors import CyrusQuotaError, MapError
from cyrusquota.explain.user import User
from cyrusquota.maps.installed import DEFAULT_MAX_AGE, DEFAULT_PATH, InstalledMap, installed_map
from cyrusquota.mta.exim import Exim, VerifyResult, VerifyStatus
from cyrusquota.mta.router import OverquotaRouter, overquota_routers
from cyrusquota.quota import Resource
from cyrusquota.verdicts.policies import SMMAPD

#: Seconds within which a map from cron has surely been renewed, with one run missed.
RECENT = 600


class Reply(enum.Enum):
    """What lmtpd or smmapd answers about a recipient, in lmtpd's words (imap/lmtpengine.c)."""

    ACCEPTED = "250 2.1.5 ok"
    FULL = "452 4.2.2 Over quota"
    FULL_FOR_GOOD = "552 5.2.2 Over quota"
    UNREADABLE = "451 4.3.0 System I/O error"
    UNKNOWN = "550 5.1.1 User unknown"
    UNREACHABLE = "no mail can be addressed to this name"
    NOT_KNOWN = "not known"

    @property
    def refuses_as_full(self) -> bool:
        """Whether that is for want of room."""
        return self in (Reply.FULL, Reply.FULL_FOR_GOOD)


@attrs.frozen
class ServerAnswer:
    """What the daemon whose policy counts answers for the next message, and why."""

    daemon: str
    reply: Reply
    why: str


def server_answer(user: User, *, for_good: bool = False) -> ServerAnswer:
    """The answer of `user`'s server; `for_good` is lmtp_over_quota_perm_failure."""
    daemon = "smmapd" if user.policy is SMMAPD else "lmtpd"
    return ServerAnswer(daemon, *_reply(user, for_good))


def _reply(user: User, for_good: bool) -> tuple[Reply, str]:
    if user.recipient is None:
        return Reply.UNREACHABLE, (
            "capitals where lmtp_downcase_rcpt is on, a +, characters that need quotes, or a"
            " domain that virtdomains does not know"
        )
    if user.has_list and user.inbox is None:
        return Reply.UNKNOWN, f"mailboxes.db has no {user.name}; its quota root was left behind"
    if user.inbox is not None and not user.inbox.is_live:
        return Reply.UNKNOWN, "the INBOX is deleted, being moved, reserved, or on another server"
    if user.problem is not None:
        return _unread(user)
    if user.root is None:
        return Reply.ACCEPTED, "no quota root governs this user"
    if not user.over:
        return Reply.ACCEPTED, f"not over any limit (policy {user.policy.name})"
    names = " and ".join(resource.value for resource in user.over)
    has = "are over their limits" if len(user.over) > 1 else "is over its limit"
    why = f"{names} {has} (policy {user.policy.name})"
    strict = user.policy.room.get(Resource.MESSAGE, 0)
    if strict and Resource.MESSAGE in user.over and not user.root.message.is_over():
        why += ", which asks room for one more message"
    return (Reply.FULL_FOR_GOOD if for_good else Reply.FULL), why


def _unread(user: User) -> tuple[Reply, str]:
    if user.stored is None:
        return Reply.UNREADABLE, f"the quota root cannot be read: {user.problem}"
    return Reply.NOT_KNOWN, f"the conversations totals cannot be read: {user.problem}"


@attrs.frozen
class MapAnswer:
    """What the map at `path` says: the key under which it has the user and its value, if it does.

    `problem` is what keeps it from being read; `looked_for` are the keys tried, `age` is in
    seconds, and the router believes it up to `max_age`, if that is not None.
    """

    path: str
    looked_for: tuple[str, ...]
    installed_map: Optional[InstalledMap] = None
    problem: Optional[MapError] = None
    key: Optional[str] = None
    value: Optional[bytes] = None
    age: float = 0.0
    max_age: Optional[int] = None

    @property
    def is_believed(self) -> bool:
        """Whether the router goes by it."""
        if self.installed_map is None:
            return False
        return self.max_age is None or self.age < self.max_age

    @property
    def refuses(self) -> bool:
        """Whether it has an entry that refuses, and not one that tells how much is left."""
        return self.value is not None and not self.value.startswith(b"free=")


def map_answer(
    user: User, asked: str, path: str, max_age: Optional[int] = DEFAULT_MAX_AGE
) -> MapAnswer:
    """What the map at `path` says of `user`, who was asked for as `asked`."""
    keys = tuple(dict.fromkeys(_keys(user, asked)))
    try:
        found = installed_map(path)
    except MapError as error:
        return MapAnswer(path, keys, problem=error, max_age=max_age)
    if found.format == "postfix":
        max_age = None
    answer = MapAnswer(path, keys, found, age=found.age(), max_age=max_age)
    for key in keys:
        value = found.value(key)
        if value is not None:
            return attrs.evolve(answer, key=key, value=value)
    return answer


def _keys(user: User, asked: str) -> Iterator[str]:
    """What an export may have listed the user as, and what the MTA may look for."""
    if user.recipient is not None:
        yield ascii_lower(str(user.recipient))
    local, at, domain = asked.rpartition("@")
    if at and "!" not in asked and "/" not in asked:
        yield ascii_lower(f"{local.partition('+')[0]}@{domain}")
    yield ascii_lower(user.address.local)


@attrs.frozen
class EximAnswer:
    """What Exim says of `address`, or the problem that keeps it from saying it; its router."""

    address: str
    answer: Optional[VerifyResult] = None
    problem: Optional[CyrusQuotaError] = None
    router: Optional[OverquotaRouter] = None

    @property
    def status(self) -> Optional[VerifyStatus]:
        """What comes of the recipient, None where Exim did not say."""
        return None if self.answer is None else self.answer.status


def exim_answer(exim: Exim, address: str, path: Optional[str]) -> EximAnswer:
    """What `exim` says of `address`; the map is expected at `path`."""
    router = None
    try:
        found = overquota_routers(exim.routers(), path or DEFAULT_PATH)
        router = next(found, None)
        return EximAnswer(address, exim.verify(address), router=router)
    except CyrusQuotaError as error:
        return EximAnswer(address, problem=error, router=router)


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
        f"it was renewed {duration(table.age)} ago, and counts for {duration(table.max_age or 0)}",
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
        f"the user became full since the map was renewed, {duration(table.age)} ago, or is exempt"
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
    if exim is None or exim.status is None:
        return
    believed = table.refuses and table.is_believed
    notes = exim.router is not None and exim.router.only_notes
    if believed and exim.status is VerifyStatus.ACCEPTED and not notes:
        yield Difference("the map has an entry, and Exim accepts", *_ignored(table, exim))
    elif not believed and exim.status is VerifyStatus.DEFERRED:
        yield Difference(
            "Exim defers, and not because of the map",
            "another router or the lookup of the map fails",
            "see Exim's mainlog and paniclog, and ask it how it routes:"
            f" exim -d+route -bv {shlex.quote(exim.address)}",
        )
    elif exim.status is VerifyStatus.REFUSED and not (believed and _is_final(table)):
        if server.reply is Reply.ACCEPTED or server.reply.refuses_as_full:
            yield Difference(
                "Exim refuses the address, which the mail server knows",
                "its domain is not among Exim's local domains, or a router before refuses it",
                f"see exim -d+route -bv {shlex.quote(exim.address)}, or name the address that"
                " senders use",
            )
    elif exim.status is VerifyStatus.ACCEPTED and server.reply is Reply.UNKNOWN:
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
    return f"the map was renewed {duration(table.age)} ago, and comes from {_source(table)}"


def _source(table: MapAnswer) -> str:
    return (table.installed_map and table.installed_map.header.source) or "?"


def _run(table: MapAnswer) -> str:
    return f"run cyrusquota-export -o {shlex.quote(table.path)}, with the options of your crontab"
