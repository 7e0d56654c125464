"""What the mail server, the map and Exim each answer about a user."""

from __future__ import annotations

import enum
from typing import Iterator, Optional

import attrs

from cyrusquota.cyrus.names import ascii_lower
from cyrusquota.errors import CyrusQuotaError, MapError, MapForbidden
from cyrusquota.explain.delivery import Delivery, delivered
from cyrusquota.explain.names import is_mailbox_name
from cyrusquota.explain.user import User
from cyrusquota.maps.installed import DEFAULT_MAX_AGE, InstalledMap, installed_map
from cyrusquota.maps.redirect import refuses
from cyrusquota.mta.exim import Exim, VerifyResult, VerifyStatus
from cyrusquota.mta.router import OverquotaRouter, overquota_routers
from cyrusquota.mta.routing import Step, trace
from cyrusquota.mta.transport import quota_ignored_by
from cyrusquota.quota import Resource
from cyrusquota.site.mailboxes import Folder
from cyrusquota.verdicts.policies import SMMAPD

#: How many characters of a text tell it from another.
_COMPARED = 20


class Reply(enum.Enum):
    """The answers of lmtpd about a recipient (imap/lmtpengine.c); smmapd's mean the same."""

    ACCEPTED = "250 2.1.5 ok"
    FULL = "452 4.2.2 Over quota"
    FULL_FOR_GOOD = "552 5.2.2 Over quota"
    UNREADABLE = "451 4.3.0 System I/O error"
    UNKNOWN = "550 5.1.1 User unknown"
    FORBIDDEN = "550 5.7.1 Permission denied"
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
        return Reply.UNREACHABLE, user.unreachable
    if user.has_list and user.inbox is None:
        left = "; its quota root is left over" if user.nearest == user.name else ""
        return Reply.UNKNOWN, f"mailboxes.db has no {user.name}{left}"
    if user.inbox is not None and not user.inbox.is_live:
        return Reply.UNKNOWN, "the INBOX is deleted, reserved, being moved, or on another server"
    if user.shared is not None and user.shared.rights is not None and "p" not in user.shared.rights:
        return _forbidden(user.shared, user.shared.rights)
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


def _forbidden(folder: Folder, rights: frozenset[str]) -> tuple[Reply, str]:
    """Return the answer about a folder that nobody may post to (imap/lmtpd.c, verify_user)."""
    why = "anyone lacks the right p, which allows to post to this folder (SETACL)"
    if folder.others_post:
        why += "; some users have it, which counts if Exim logs in to lmtpd as one of them"
    return Reply.FORBIDDEN if "l" in rights else Reply.UNKNOWN, why


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
        return self.value is not None and refuses(self.value)

    @property
    def end_of_text(self) -> str:
        """The end of the text that senders read; empty without an entry."""
        text = (self.value or b"").partition(b": ")[2].decode("utf-8", "surrogateescape")
        return text[-_COMPARED:]

    @property
    def is_hidden(self) -> bool:
        """Whether it is there, and this user may not read it."""
        return isinstance(self.problem, MapForbidden)

    @property
    def may_defer(self) -> bool:
        """Whether Exim may defer because of it, as far as it can be read."""
        return self.is_hidden or (self.refuses and self.is_believed)


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
    if at and not is_mailbox_name(asked) and local.partition("+")[0]:
        yield ascii_lower(f"{local.partition('+')[0]}@{domain}")
    yield ascii_lower(user.address.local)


@attrs.frozen
class EximAnswer:
    """Exim's answer about `address`, or the error instead of one; and the overquota router.

    `delivery` is where the mail goes. `steps` are what each router does with the recipient; Exim
    shows them to its administrators only (`shows_steps`). `quota_ignored_by` is the option by which
    the transport has Cyrus ignore quotas, if it does.
    """

    address: str
    answer: Optional[VerifyResult] = None
    problem: Optional[CyrusQuotaError] = None
    router: Optional[OverquotaRouter] = None
    delivery: Optional[Delivery] = None
    steps: tuple[Step, ...] = ()
    shows_steps: bool = False
    quota_ignored_by: Optional[str] = None

    @property
    def status(self) -> Optional[VerifyStatus]:
        """What Exim does with the recipient, or None without an answer."""
        return None if self.answer is None else self.answer.status

    @property
    def is_by_router(self) -> bool:
        """Whether the overquota router decides, as far as Exim shows its steps."""
        if self.router is None:
            return False
        return not self.steps or self.steps[-1].router == self.router.router.name

    @property
    def step(self) -> Optional[Step]:
        """What the overquota router does with the recipient; None if it is not reached."""
        name = None if self.router is None else self.router.router.name
        return next((step for step in reversed(self.steps) if step.router == name), None)


def exim_answer(exim: Exim, address: str, path: str, delivery: Optional[Delivery]) -> EximAnswer:
    """Ask `exim` about `address`; its router should use the map at `path`."""
    found = EximAnswer(address, delivery=delivery)
    try:
        router = next(overquota_routers(exim.routers(), path), None)
        found = attrs.evolve(found, router=router)
        answer = exim.verify(address)
        if delivery is None:
            delivery = delivered(exim, address)
        steps = trace(exim, address)
        return attrs.evolve(
            found,
            answer=answer,
            delivery=delivery,
            steps=steps or (),
            shows_steps=steps is not None,
            quota_ignored_by=_quota_ignored_by(exim, delivery),
        )
    except CyrusQuotaError as error:
        return attrs.evolve(found, problem=error)


def _quota_ignored_by(exim: Exim, delivery: Delivery) -> Optional[str]:
    used = {one.transport for one in delivery.to_cyrus}
    for transport in exim.transports():
        option = quota_ignored_by(transport) if transport.name in used else None
        if option is not None:
            return f"{option} in transport {transport.name}"
    return None
