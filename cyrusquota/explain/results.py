"""What the mail server, the map and Exim each answer about a user, and where they differ.

The map is renewed from time to time, so a short difference is normal. A difference that points to a
fault comes with what to do.
"""

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
from cyrusquota.mta.transport import IGNORED, quota_ignored_by
from cyrusquota.quota import Resource
from cyrusquota.verdicts.policies import SMMAPD

#: Seconds within which cron has renewed the map, even if it missed one run.
RECENT = 600


class Reply(enum.Enum):
    """The answers of lmtpd about a recipient (imap/lmtpengine.c); smmapd's mean the same."""

    ACCEPTED = "250 2.1.5 ok"
    FULL = "452 4.2.2 Over quota"
    FULL_FOR_GOOD = "552 5.2.2 Over quota"
    UNREADABLE = "451 4.3.0 System I/O error"
    UNKNOWN = "550 5.1.1 User unknown"
    UNREACHABLE = "no mail can be addressed to this name"
    NOT_KNOWN = "not known"

    @property
    def refuses_as_full(self) -> bool:
        """Whether the user is over quota."""
        return self in _OVER


_OVER = (Reply.FULL, Reply.FULL_FOR_GOOD)


@attrs.frozen
class ServerAnswer:
    """The answer of lmtpd or smmapd to the next message, and its reason."""

    daemon: str
    reply: Reply
    why: str


def server_answer(user: User, *, for_good: bool = False) -> ServerAnswer:
    """Return what the server answers; `for_good` is lmtp_over_quota_perm_failure."""
    daemon = "smmapd" if user.policy is SMMAPD else "lmtpd"
    reply, why = _reply(user, for_good)
    if user.catchall is not None and reply in (*_OVER, Reply.UNKNOWN, Reply.UNREADABLE):
        theirs, reason = _reply(user.catchall, for_good)
        to = f"{user.catchall.address} (lmtp_catchall_mailbox)"
        if user.catchall.has_list and user.catchall.inbox is None:
            why += f"; {to} has no INBOX, so {daemon} answers {Reply.UNKNOWN.value}"
        elif theirs is Reply.ACCEPTED:
            reply, why = theirs, f"{why}; the mail goes to the INBOX of {to} instead"
        else:
            reply, why = theirs, f"{why}; {to} cannot take the mail either: {reason}"
    elif reply is Reply.ACCEPTED and user.has_too_many_messages:
        why += (
            f"; but after DATA it refuses the message, because the INBOX has {user.messages}"
            " messages (mailbox_maxmessages_email)"
        )
    return ServerAnswer(daemon, reply, why)


def _reply(user: User, for_good: bool) -> tuple[Reply, str]:
    if user.recipient is None:
        return Reply.UNREACHABLE, (
            "it has capitals while lmtp_downcase_rcpt is on, a +, characters that need quotes, or a"
            " domain while virtdomains is off"
        )
    if user.has_list and user.inbox is None:
        left = "; its quota root is left over" if user.nearest == user.name else ""
        return Reply.UNKNOWN, f"mailboxes.db has no {user.name}{left}"
    if user.inbox is not None and not user.inbox.is_live:
        return Reply.UNKNOWN, "the INBOX is deleted, reserved, being moved, or on another server"
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
        why += ", which requires room for one more message"
    return (Reply.FULL_FOR_GOOD if for_good else Reply.FULL), why


def _unread(user: User) -> tuple[Reply, str]:
    if user.stored is None:
        return Reply.UNREADABLE, f"the quota root cannot be read: {user.problem}"
    return Reply.NOT_KNOWN, f"the conversations totals cannot be read: {user.problem}"


@attrs.frozen
class MapAnswer:
    """What the map at `path` says: the key and value of the user's entry, or None.

    `problem` is the error that kept it from being read. `looked_for` has the keys that were tried.
    `age` is in seconds; the router ignores a map older than `max_age`, unless that is None.
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
        """Whether the router uses it: it can be read and is not too old."""
        if self.installed_map is None:
            return False
        return self.max_age is None or self.age < self.max_age

    @property
    def refuses(self) -> bool:
        """Whether it has an entry that refuses mail; one that says how much is left does not."""
        return self.value is not None and not self.value.startswith(b"free=")


def map_answer(
    user: User, asked: str, path: str, max_age: Optional[int] = DEFAULT_MAX_AGE
) -> MapAnswer:
    """Look `user`, whom the administrator called `asked`, up in the map at `path`."""
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
    """Return the keys that an export may have written and the MTA may look up."""
    if user.recipient is not None:
        yield ascii_lower(str(user.recipient))
    local, at, domain = asked.rpartition("@")
    if at and "!" not in asked and "/" not in asked:
        yield ascii_lower(f"{local.partition('+')[0]}@{domain}")
    yield ascii_lower(user.address.local)


@attrs.frozen
class EximAnswer:
    """Exim's answer about `address`, or the error instead of one; and the overquota router.

    `quota_ignored_by` is the option by which its transport has Cyrus ignore quotas, if it does.
    """

    address: str
    answer: Optional[VerifyResult] = None
    problem: Optional[CyrusQuotaError] = None
    router: Optional[OverquotaRouter] = None
    quota_ignored_by: Optional[str] = None

    @property
    def status(self) -> Optional[VerifyStatus]:
        """What Exim does with the recipient, or None without an answer."""
        return None if self.answer is None else self.answer.status


def exim_answer(exim: Exim, address: str, path: Optional[str]) -> EximAnswer:
    """Ask `exim` about `address`; its router should use the map at `path`."""
    router = None
    try:
        found = overquota_routers(exim.routers(), path or DEFAULT_PATH)
        router = next(found, None)
        answer = EximAnswer(address, exim.verify(address), router=router)
        return attrs.evolve(answer, quota_ignored_by=_quota_ignored_by(exim, address))
    except CyrusQuotaError as error:
        return EximAnswer(address, problem=error, router=router)


def _quota_ignored_by(exim: Exim, address: str) -> Optional[str]:
    route = exim.route(address)
    used = [one for one in exim.transports() if route is not None and one.name == route[1]]
    option = quota_ignored_by(used[0]) if used else None
    return None if option is None else f"{option} in transport {used[0].name}"


@attrs.frozen
class Difference:
    """A difference between two answers, its probable reason, and what to do."""

    what: str
    why: str
    do: str


def differences(
    user: User, server: ServerAnswer, table: MapAnswer, exim: Optional[EximAnswer]
) -> tuple[Difference, ...]:
    """Return the differences between the three answers, those of the map first."""
    return (
        *_map(user, server, table),
        *_exim(server, table, exim),
        *_ignored_quota(user, server, exim),
    )


def _map(user: User, server: ServerAnswer, table: MapAnswer) -> Iterator[Difference]:
    refuses = server.reply.refuses_as_full
    if table.installed_map is None or (not table.is_believed and (refuses or table.refuses)):
        if refuses or table.installed_map is not None:
            yield _disbelieved(server, table)
    elif refuses and not table.refuses:
        yield _missing(user, server, table)
    elif table.refuses and server.reply is Reply.ACCEPTED and not user.has_too_many_messages:
        yield _listed(user, server, table)
    elif table.refuses and not refuses and server.reply is not Reply.ACCEPTED:
        what = f"the map has an entry, and {server.daemon} answers {server.reply.value!r}"
        yield Difference(what, _since(table), _run(table))


def _disbelieved(server: ServerAnswer, table: MapAnswer) -> Difference:
    if table.installed_map is None:
        what = f"{server.daemon} refuses, and there is no map for Exim"
        why, _, do = str(table.problem).partition("; ")
        return Difference(what, why, do)
    return Difference(
        "the map is too old for the router",
        f"it was renewed {duration(table.age)} ago, valid for {duration(table.max_age or 0)}",
        "find out why no export has renewed it: cyrusquota doctor",
    )


def _missing(user: User, server: ServerAnswer, table: MapAnswer) -> Difference:
    what = f"{server.daemon} refuses, and the map has no entry"
    if user.is_shared:
        return Difference(
            what,
            "this is a shared folder, and an export lists users only",
            "make room in the folder, or raise its limit",
        )
    if user.listed is None:
        return Difference(
            what,
            "an export with these options does not list this user: with --headers trust-rows it"
            " goes by the quota database, or another user's name differs in capitals only",
            f"run `quota -f {shlex.quote(user.name)}`, which corrects the header of the INBOX",
        )
    if table.age > RECENT:
        return Difference(what, _since(table), _run(table))
    return Difference(
        what,
        f"the user became full after the map was renewed, {duration(table.age)} ago, or is exempt"
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
            "nothing, if this user is nearly full; otherwise wait for the next run",
        )
    return Difference(what, f"the user has made room, and {_since(table)}", _run(table))


def _exim(
    server: ServerAnswer, table: MapAnswer, exim: Optional[EximAnswer]
) -> Iterator[Difference]:
    if exim is None or exim.status is None:
        return
    believed = table.refuses and table.is_believed
    notes = exim.router is not None and exim.router.defers_by_acl
    if believed and exim.status is VerifyStatus.ACCEPTED and not notes:
        yield Difference("the map has an entry, and Exim accepts", *_ignored(table, exim))
    elif not believed and exim.status is VerifyStatus.DEFERRED:
        yield Difference(
            "Exim defers, and not because of the map",
            "another router defers, or the lookup in the map fails",
            "read Exim's mainlog and paniclog, and see how it routes:"
            f" exim -d+route -bv {shlex.quote(exim.address)}",
        )
    elif exim.status is VerifyStatus.REFUSED and not (believed and _is_final(table)):
        if server.reply is Reply.ACCEPTED or server.reply.refuses_as_full:
            yield Difference(
                "Exim rejects the address, and the mail server knows the user",
                "its domain is not one of Exim's local domains, or an earlier router rejects it",
                f"see exim -d+route -bv {shlex.quote(exim.address)}, or give the address that"
                " senders use",
            )
    elif exim.status is VerifyStatus.ACCEPTED and server.reply is Reply.UNKNOWN:
        yield Difference(
            "Exim accepts mail for a user whom Cyrus does not know",
            "no router checks whether the user exists, or an alias leads elsewhere",
            f"see where it would go: exim -bt {shlex.quote(exim.address)}",
        )


def _ignored_quota(
    user: User, server: ServerAnswer, exim: Optional[EximAnswer]
) -> Iterator[Difference]:
    option = None if exim is None else exim.quota_ignored_by
    if option is not None and server.reply.refuses_as_full and set(user.over) <= set(IGNORED):
        yield Difference(
            f"{server.daemon} refuses, but Exim tells it to ignore quotas",
            f"{option}: Cyrus then accepts mail for users who are over STORAGE or MESSAGE",
            "remove the option, or the overquota router, which defers mail that Cyrus would accept",
        )


def _is_final(table: MapAnswer) -> bool:
    return (table.value or b"").startswith(b":fail:")


def _ignored(table: MapAnswer, exim: EximAnswer) -> tuple[str, str]:
    if exim.router is None:
        return "no router of Exim uses the map", "add the router: see exim/README.md"
    if exim.router.map != table.path:
        return (
            f"the router {exim.router.router.name} uses another map, {exim.router.map}",
            f"ask about that one: --map {shlex.quote(exim.router.map)}, or set CYRUSQUOTA_MAP",
        )
    if exim.router.looks_up_local_parts and "@" in (table.key or ""):
        return (
            f"the router {exim.router.router.name} looks up local parts only",
            "use the router in exim/address, or a CYRUSQUOTA_KEY with the domain",
        )
    return (
        f"the router {exim.router.router.name} looks up another key than {table.key}, an alias"
        " leads elsewhere, or Exim cannot read the map",
        "run cyrusquota doctor",
    )


def _since(table: MapAnswer) -> str:
    return f"the map was renewed {duration(table.age)} ago, and comes from {_source(table)}"


def _source(table: MapAnswer) -> str:
    return (table.installed_map and table.installed_map.header.source) or "?"


def _run(table: MapAnswer) -> str:
    return f"run cyrusquota-export -o {shlex.quote(table.path)}, with the options of your crontab"
