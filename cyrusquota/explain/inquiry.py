"""Ask Cyrus's data, the map and Exim about an address, and put the answers together."""

from __future__ import annotations

from typing import Callable, ContextManager, Iterator, Optional, Sequence

import attrs

from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.errors import EximError, NoSuchUser, printable
from cyrusquota.explain import exim_reasons, map_reasons, user
from cyrusquota.explain.answers import (
    EximAnswer,
    exim_answer,
    map_answer,
    server_answer,
)
from cyrusquota.explain.case import Case, Difference
from cyrusquota.explain.delivery import Delivery, delivered
from cyrusquota.explain.export import Export
from cyrusquota.explain.names import is_mailbox_name
from cyrusquota.explain.user import User
from cyrusquota.explain.verdict import Member, Verdict, of_many, verdict
from cyrusquota.maps.installed import DEFAULT_MAX_AGE, DEFAULT_PATH
from cyrusquota.mta.exim import Exim
from cyrusquota.mta.routing import Destination, is_same
from cyrusquota.site.source import Source
from cyrusquota.verdicts.evaluator import Query


@attrs.frozen
class Host:
    """What to ask.

    `source` returns the quota data, to be read once. `map` is None for the map that Exim's router
    uses. `export` returns what is known of the export that writes a map. What Cyrus owns is read
    within `reading`.
    """

    source: Callable[[], Source]
    query: Query
    conf: Optional[ImapdConf]
    exim: Optional[Exim]
    map: Optional[str]
    export: Callable[[str], Export]
    reading: Callable[[], ContextManager[object]]

    def user(self, asked: str) -> User:
        """Return the user that `asked` means; raises as `user.found` does."""
        with self.reading():
            return user.found(asked, self.source(), self.query, self.conf)

    def qualified(self, exim: Exim, asked: str) -> str:
        """Return an address with the domain that Cyrus or Exim has for one without.

        Exim's qualify_recipient is often the name of the host. Raises `EximError`.
        """
        naming = self.query.naming
        if "@" in asked:
            return asked
        domain = naming.defaultdomain if naming.virtdomains else None
        domain = exim.local_domain() if domain is None else domain
        return asked if domain is None else f"{asked}@{domain}"

    @property
    def refuses_for_good(self) -> bool:
        """Whether Cyrus refuses mail permanently (lmtp_over_quota_perm_failure)."""
        return self.conf is not None and self.conf.switch("lmtp_over_quota_perm_failure", False)


@attrs.frozen
class Explanation:
    """The answers about the address `asked`, and what follows from them.

    `case` is None where the mail goes to several places or not to Cyrus; `members` are these.
    `unanswered` says which of the answers is missing, `not_known` what else could not be asked, and
    `notes` what else may surprise.
    """

    asked: str
    verdict: Verdict
    exim: Optional[EximAnswer]
    case: Optional[Case] = None
    members: tuple[Member, ...] = ()
    differences: tuple[Difference, ...] = ()
    unanswered: tuple[str, ...] = ()
    not_known: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def agree(self) -> Optional[bool]:
        """Whether the answers agree; None where one is missing and the others do."""
        if self.differences:
            return False
        return None if self.unanswered or self.case is None else True


def explained(asked: str, host: Host) -> Explanation:
    """Return the explanation of an address, a local part, or the name of a mailbox.

    Raises `OptionError` for what can be no user, `NoSuchUser`, and what reading the source raises.
    """
    user.check(asked)
    delivery, problem = _delivery(asked, host)
    if delivery is not None and delivery.is_split:
        return _many(asked, host, delivery)
    meant = asked if delivery is None else delivery.alias_of or asked
    try:
        found = host.user(meant)
    except NoSuchUser as error:
        if delivery is not None and delivery.leaves:
            return _many(asked, host, delivery)
        raise _unknown(error, asked, meant, delivery) from error
    return _of_user(asked, host, found, delivery, problem)


def _delivery(asked: str, host: Host) -> tuple[Optional[Delivery], Optional[EximError]]:
    """Return where Exim delivers mail for an address that was asked about, or the error."""
    if host.exim is None or is_mailbox_name(asked):
        return None, None
    try:
        return delivered(host.exim, host.qualified(host.exim, asked)), None
    except EximError as error:
        return None, error


def _unknown(error: NoSuchUser, asked: str, meant: str, delivery: Optional[Delivery]) -> NoSuchUser:
    """Return the error about an unknown user with what Exim makes of the address."""
    said = str(error)
    if meant != asked:
        said = f"{asked} is an alias of {meant}, and Cyrus does not know that user: {said}"
    if delivery is not None and delivery.destinations:
        first = delivery.destinations[0]
        does = f"accepts the address all the same, by the router {first.router}"
        if first.problem is not None:
            does = f"does not deliver to it either: {first.problem}"
        said += f"{'' if said.endswith('?') else ';'} Exim {does}"
    return NoSuchUser(printable(said))


def _of_user(
    asked: str,
    host: Host,
    found: User,
    delivery: Optional[Delivery],
    problem: Optional[EximError],
) -> Explanation:
    server = server_answer(found, for_good=host.refuses_for_good)
    exim = _exim(host, asked, found, delivery, problem)
    router = None if exim is None else exim.router
    table = map_answer(
        found,
        asked if delivery is None else delivery.alias_of or asked,
        host.map or (DEFAULT_PATH if router is None else router.map),
        DEFAULT_MAX_AGE if router is None else router.max_age,
    )
    case = Case(found, server, table, exim, host.exim, host.export(table.path), host.query)
    first = exim_reasons.of_router(case)
    differences = [] if first is None else [first]
    with host.reading():
        differences += map_reasons.differences(case)
    of_exim = list(exim_reasons.differences(case))
    # Where Exim does not come to the map, the verdict has Exim's own reason.
    differences = of_exim + differences if case.is_stopped_before else differences + of_exim
    not_known = []
    if host.exim is not None and exim is not None and exim.problem is None:
        older, unknown = exim_reasons.daemon_state(host.exim)
        differences += [] if older is None else [older]
        if unknown is not None:
            not_known.append(f"whether Exim's daemon has read this configuration: {unknown}")
    alias = None if delivery is None or delivery.alias_of is None else asked
    return Explanation(
        asked,
        verdict(case, alias, differences),
        exim,
        case,
        differences=tuple(differences),
        unanswered=tuple(_unanswered(case)),
        not_known=tuple(not_known),
        notes=(*_remedy(case, differences), *_notes(asked, host, delivery)),
    )


def _exim(
    host: Host,
    asked: str,
    found: User,
    delivery: Optional[Delivery],
    problem: Optional[EximError],
) -> Optional[EximAnswer]:
    """Return Exim's answer about the address asked about, or else the user's own."""
    if host.exim is None:
        return None
    address = str(found.address) if is_mailbox_name(asked) else asked
    if problem is None:
        try:
            address = delivery.asked if delivery else host.qualified(host.exim, address)
            return exim_answer(host.exim, address, host.map or DEFAULT_PATH, delivery)
        except EximError as error:
            problem = error
    return EximAnswer(address, problem=problem)


def _remedy(case: Case, differences: Sequence[Difference]) -> Iterator[str]:
    """Yield when mail is accepted again, for a user who is rightly deferred."""
    root = case.user.root
    if root is not None and case.server.reply.refuses_as_full and not differences:
        yield (
            "Mail is accepted again when mail is deleted, or the limit of the quota root"
            f" {root.name} is raised, and the next run has renewed the map."
        )


def _unanswered(case: Case) -> Iterator[str]:
    """Yield which answers are missing, and why."""
    if case.exim is None:
        yield "what Exim does: it was not asked"
    elif case.exim.problem is not None:
        yield f"what Exim does: {case.exim.problem}"
    if case.is_cause_hidden:
        yield "why Exim does that: it tells its administrators only; run this as root"
    if case.table.is_hidden:
        yield f"what the map says: {case.table.problem}"
    if case.user.header_problem is not None:
        yield f"which quota root counts: {case.user.header_problem}"


def _notes(asked: str, host: Host, delivery: Optional[Delivery]) -> Iterator[str]:
    """Yield that there is an INBOX of this name, if the mail goes elsewhere."""
    if delivery is None or delivery.is_direct:
        return
    if any(is_same(asked, one.target or "") for one in delivery.destinations):
        # It is one of the destinations.
        return
    try:
        hidden = host.user(asked)
    except NoSuchUser:
        return
    if hidden.inbox is not None and hidden.inbox.is_live:
        yield (
            f"There is an INBOX {hidden.name} too, which gets none of this mail; to explain it:"
            f" cyrusquota explain {hidden.name}"
        )


def _many(asked: str, host: Host, delivery: Delivery) -> Explanation:
    assert host.exim is not None
    exim = exim_answer(host.exim, delivery.asked, host.map or DEFAULT_PATH, delivery)
    members = tuple(_member(one, delivery, host) for one in delivery.destinations)
    unanswered = () if exim.problem is None else (f"what Exim does: {exim.problem}",)
    return Explanation(
        asked,
        of_many(asked, exim, members),
        exim,
        members=members,
        unanswered=unanswered,
        notes=tuple(_notes(asked, host, delivery)),
    )


def _member(one: Destination, delivery: Delivery, host: Host) -> Member:
    if one not in delivery.to_cyrus or one.target is None:
        return Member(one)
    try:
        found = host.user(one.target)
    except NoSuchUser:
        return Member(one)
    return Member(one, found, server_answer(found, for_good=host.refuses_for_good))
