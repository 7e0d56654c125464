"""Say in one line what becomes of mail for the address asked about."""

from __future__ import annotations

import enum
from typing import Optional, Sequence

import attrs

from cyrusquota.display.sizes import percent
from cyrusquota.errors import NoSuchMap
from cyrusquota.explain.answers import EximAnswer, Reply, ServerAnswer
from cyrusquota.explain.case import Case, Difference
from cyrusquota.explain.user import User
from cyrusquota.mta.exim import VerifyStatus
from cyrusquota.mta.routing import Destination

#: From how much of a limit it is worth a word, in percent.
_NEAR = 90
#: How many names a verdict has at most.
_NAMED = 3


class Level(enum.Enum):
    """How good the news is."""

    GOOD = "good"
    LIMITED = "limited"
    WRONG = "wrong"


class Outcome(enum.Enum):
    """What becomes of mail at RCPT; `late` is refused by Cyrus after Exim has accepted it."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    LATE = "late"
    ELSEWHERE = "elsewhere"
    NOT_KNOWN = "not-known"


@attrs.frozen
class Verdict:
    """What becomes of mail, and the sentence that says it."""

    outcome: Outcome
    level: Level
    text: str


_DOES = {
    VerifyStatus.ACCEPTED: "accepts",
    VerifyStatus.DEFERRED: "defers",
    VerifyStatus.REFUSED: "rejects",
}
_OUTCOMES = {
    VerifyStatus.ACCEPTED: Outcome.ACCEPTED,
    VerifyStatus.DEFERRED: Outcome.DEFERRED,
    VerifyStatus.REFUSED: Outcome.REJECTED,
}


def verdict(case: Case, alias: Optional[str], differences: Sequence[Difference]) -> Verdict:
    """Return the verdict on one user; `alias` is the address asked about, if it is an alias."""
    outcome, level, said = _judged(case, differences)
    if level is not Level.WRONG and differences:
        level = Level.WRONG
        # Without Exim's answer it says already what the map has for a user who is over quota.
        if outcome is not Outcome.NOT_KNOWN or not case.server.reply.refuses_as_full:
            said += f" But {differences[0].what}."
    who = f"{case.address} " if alias is None else f"{alias} is an alias of {case.address}, who "
    return Verdict(outcome, level, who + said)


def _reason(differences: Sequence[Difference]) -> str:
    return f": {differences[0].reason.why}." if differences else "."


def _judged(case: Case, differences: Sequence[Difference]) -> tuple[Outcome, Level, str]:
    """Return the outcome, the level, and what follows the name of the user."""
    reply, exim = case.server.reply, case.exim
    status = None if exim is None else exim.status
    if case.goes_elsewhere is not None and status is not None:
        has = f"is over quota ({_use(case.user)})" if reply.refuses_as_full else "is not over quota"
        said = f"{has}, but Exim does not deliver their mail to this INBOX{_reason(differences)}"
        return Outcome.ELSEWHERE, Level.WRONG, said
    if reply.refuses_as_full:
        return _over(case, status, differences)
    if reply is Reply.ACCEPTED and case.user.has_too_many_messages:
        said = f"has {case.user.messages} messages, too many: Cyrus refuses the next after DATA."
        return Outcome.LATE, Level.WRONG, said
    if reply is Reply.ACCEPTED:
        return _roomy(case, status, differences)
    outcome = Outcome.REJECTED
    said = f"gets no mail: {case.server.daemon} answers {reply.value!r}: {case.server.why}."
    if reply is Reply.UNREACHABLE:
        said = f"gets no mail, because none can be addressed to this name: {case.server.why}."
    elif reply is Reply.UNREADABLE:
        outcome = Outcome.DEFERRED
    elif reply is Reply.NOT_KNOWN:
        said = f"may be over quota or not, which is not known: {case.server.why}."
        return Outcome.NOT_KNOWN, Level.LIMITED, said
    return outcome, Level.WRONG, said


def _over(
    case: Case, status: Optional[VerifyStatus], differences: Sequence[Difference]
) -> tuple[Outcome, Level, str]:
    over = f"is over quota ({_use(case.user)})"
    exim = case.exim
    if case.user.header_problem is not None:
        over = f"is probably over quota ({_use(case.user)})"
    if exim is None or status is None:
        said = f"{over}: Cyrus refuses their mail, and {_listed(case)}. {_unasked(exim)}"
        return Outcome.NOT_KNOWN, Level.LIMITED, said
    by_acl = exim.router is not None and exim.router.defers_by_acl and case.table.refuses
    if status is VerifyStatus.ACCEPTED and not by_acl and case.ignores_quota:
        said = (
            f"{over}, but gets mail: Exim tells Cyrus to ignore quotas ({exim.quota_ignored_by})."
        )
        return Outcome.ACCEPTED, Level.WRONG, said
    if status is VerifyStatus.ACCEPTED and not by_acl:
        said = f"{over}, but Exim accepts their mail, which Cyrus then refuses"
        said += _reason(differences)
        return Outcome.LATE, Level.WRONG, said
    if status is not VerifyStatus.ACCEPTED and not case.is_by_map:
        does, outcome = _DOES[status], _OUTCOMES[status]
        said = f"{over}, and Exim {does} their mail, but not for that{_reason(differences)}"
        return outcome, Level.WRONG, said
    if case.is_cause_hidden:
        does, outcome = _DOES[status], _OUTCOMES[status]
        return outcome, Level.LIMITED, f"{over}, and Exim {does} their mail, probably for that."
    if status is VerifyStatus.REFUSED:
        return Outcome.REJECTED, Level.LIMITED, f"{over}, and Exim rejects their mail."
    by = "Exim's ACL" if by_acl and status is VerifyStatus.ACCEPTED else "Exim"
    said = f"{over}, and {by} defers their mail until there is room."
    return Outcome.DEFERRED, Level.LIMITED, said


def _roomy(
    case: Case, status: Optional[VerifyStatus], differences: Sequence[Difference]
) -> tuple[Outcome, Level, str]:
    near, is_sure = _nearly(case.user), case.user.header_problem is None
    has = f"has room{near}" if is_sure else f"probably has room{near}"
    if status is None:
        said = f"{has}: Cyrus accepts their mail. {_unasked(case.exim)}"
        return Outcome.NOT_KNOWN, Level.LIMITED, said
    if status is VerifyStatus.ACCEPTED:
        limit = near if case.user.root is not None else " (no quota root limits them)"
        gets, level = ("gets", Level.GOOD) if is_sure else ("probably gets", Level.LIMITED)
        return Outcome.ACCEPTED, level, f"{gets} mail: Cyrus and Exim accept it{limit}."
    said = f"{has}, but Exim {_DOES[status]} their mail{_reason(differences)}"
    return _OUTCOMES[status], Level.WRONG, said


def _listed(case: Case) -> str:
    """Return what the map says of a user who is over quota."""
    if isinstance(case.table.problem, NoSuchMap):
        return "no map exists"
    if case.table.installed_map is None:
        return "the map cannot be read"
    return "the map has an entry" if case.table.refuses else "the map has no entry"


def _unasked(exim: Optional[EximAnswer]) -> str:
    why = "it was not asked" if exim is None else "it did not answer"
    return f"What Exim does is not known: {why}."


def _use(user: User) -> str:
    """Return the resources for which mail is refused, and their use."""
    root = user.root if user.catchall is None or user.over else user.catchall.root
    if root is None:
        return "no figures"
    usages = dict(root.usages())
    return ", ".join(f"{one.value} at {percent(usages[one])}" for one in user.policy.over(root))


def _nearly(user: User) -> str:
    """Return the resources that are nearly full, in brackets."""
    found = () if user.root is None else user.root.usages()
    near = [
        f"{resource.value} at {percent(usage)}"
        for resource, usage in found
        if usage.limit and usage.used * 100 >= usage.limit * _NEAR
    ]
    return f" ({', '.join(near)})" if near else ""


# Not one user


@attrs.frozen
class Member:
    """A destination behind a list or a forward, and what Cyrus answers if it goes there."""

    destination: Destination
    user: Optional[User] = None
    server: Optional[ServerAnswer] = None

    @property
    def is_over(self) -> bool:
        """Whether Cyrus refuses mail for it."""
        return self.server is not None and self.server.reply.refuses_as_full


def of_many(asked: str, exim: EximAnswer, members: Sequence[Member]) -> Verdict:
    """Return the verdict on an address whose mail goes to several places, or not to Cyrus."""
    if len(members) == 1:
        return _elsewhere(asked, exim, members[0].destination)
    over = [str(one.destination.target) for one in members if one.is_over]
    does = "is not known to accept" if exim.status is None else _DOES[exim.status]
    text = f"{asked} is an alias of {len(members)} destinations, and Exim {does} mail for it"
    if exim.status is VerifyStatus.ACCEPTED:
        text += " without looking at their quotas"
    outcome = Outcome.NOT_KNOWN if exim.status is None else _OUTCOMES[exim.status]
    if not over:
        level = Level.GOOD if exim.status is VerifyStatus.ACCEPTED else Level.LIMITED
        return Verdict(outcome, level, f"{text}.")
    names = ", ".join(over[:_NAMED]) + (", ..." if len(over) > _NAMED else "")
    text += f". {len(over)} of them {'is' if len(over) == 1 else 'are'} over quota: {names}."
    return Verdict(outcome, Level.LIMITED, text)


def _elsewhere(asked: str, exim: EximAnswer, goes: Destination) -> Verdict:
    way = f" (transport {goes.transport})"
    text = f"Mail for {asked} does not go to this Cyrus{way}; no quota of this host counts."
    if goes.target is None:
        text = f"Mail for {asked} is discarded by Exim; no quota counts."
    elif goes.parents:
        text = f"{asked} is an alias of {goes.target}, which is not at this Cyrus{way}; no quota of"
        text += " this host counts."
    if exim.status is VerifyStatus.ACCEPTED:
        level = Level.LIMITED if goes.target is None else Level.GOOD
        return Verdict(Outcome.ELSEWHERE, level, text)
    if exim.answer is None or exim.status is None:
        return Verdict(Outcome.ELSEWHERE, Level.LIMITED, f"{text} {_unasked(exim)}")
    # A router for aliases that is not used to verify.
    text += f" But Exim {_DOES[exim.status]} it: {exim.answer.text}."
    return Verdict(Outcome.ELSEWHERE, Level.WRONG, text)
