"""What each of the three says of one user: the mail server, the map in place, and Exim."""

from __future__ import annotations

import enum
from typing import Iterator, Optional

import attrs

from cyrusquota.cyrus.names import ascii_lower
from cyrusquota.errors import CyrusQuotaError, MapError
from cyrusquota.explain.user import User
from cyrusquota.maps.installed import DEFAULT_MAX_AGE, DEFAULT_PATH, InstalledMap, installed_map
from cyrusquota.mta.exim import Answer, Exim, Outcome
from cyrusquota.mta.router import OverquotaRouter, overquota_routers
from cyrusquota.quota import Resource
from cyrusquota.verdicts.policies import SMMAPD


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
    answer: Optional[Answer] = None
    problem: Optional[CyrusQuotaError] = None
    router: Optional[OverquotaRouter] = None

    @property
    def outcome(self) -> Optional[Outcome]:
        """What comes of the recipient, None where Exim did not say."""
        return None if self.answer is None else self.answer.outcome


def exim_answer(exim: Exim, address: str, path: Optional[str]) -> EximAnswer:
    """What `exim` says of `address`; the map is expected at `path`."""
    router = None
    try:
        found = overquota_routers(exim.routers(), path or DEFAULT_PATH)
        router = next(found, None)
        return EximAnswer(address, exim.verify(address), router=router)
    except CyrusQuotaError as error:
        return EximAnswer(address, problem=error, router=router)
