"""Policies: whom Cyrus refuses mail for, and why."""

from __future__ import annotations

from typing import Iterable, Iterator, Mapping

import attrs

from cyrusquota.mailbox import Naming, Recipient, recipient
from cyrusquota.quota import QuotaRoot, Resource


@attrs.frozen
class Policy:
    """A daemon's rule: how much more of each resource it asks room for; others it ignores."""

    name: str
    room: Mapping[Resource, int]

    def over(self, root: QuotaRoot) -> tuple[Resource, ...]:
        """The resources of `root` for which this policy refuses mail."""
        return tuple(
            resource
            for resource, usage in root.usages()
            if resource in self.room and usage.is_over(self.room[resource])
        )


#: lmtpd as it is by default (imap/lmtpd.c, verify_user): any of the four, strictly above the limit.
LMTPD = Policy("lmtpd", dict.fromkeys(Resource, 0))


@attrs.frozen
class Verdict:
    """A recipient for whom mail is refused: the root that governs him, and what it is full of."""

    recipient: Recipient
    root: QuotaRoot
    over: tuple[Resource, ...]


def verdicts(
    roots: Iterable[QuotaRoot], naming: Naming, policy: Policy = LMTPD
) -> Iterator[Verdict]:
    """Whom `policy` refuses among the users who have a root of their own.

    Roots of subfolders, shared folders, deleted mailboxes and whole domains refuse no mail to an
    INBOX that has a root of its own, and are passed over.
    """
    for root in roots:
        over = policy.over(root)
        if over:
            to = recipient(root.name, naming)
            if to is not None:
                yield Verdict(to, root, over)
