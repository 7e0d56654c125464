"""Policies: the rule of each Cyrus daemon for when a resource is full. And the reserve below it."""

from __future__ import annotations

from typing import Mapping

import attrs

from cyrusquota.quota import QuotaRoot, Resource, Usage


@attrs.frozen
class Policy:
    """A daemon's rule: the room it demands of each resource. It ignores other resources.

    `by_header` says that the daemon goes by the quota root that the mailbox header names.
    """

    name: str
    room: Mapping[Resource, int]
    by_header: bool = True

    def over(self, root: QuotaRoot) -> tuple[Resource, ...]:
        """Return the resources of `root` for which this policy refuses mail."""
        found = [
            resource
            for resource, usage in root.usages()
            if usage.limit is not None
            and resource in self.room
            and usage.is_over(self.room[resource])
        ]
        return tuple(found)


#: lmtpd as it is by default (imap/lmtpd.c, verify_user): any of the four, strictly above the limit.
LMTPD = Policy("lmtpd", dict.fromkeys(Resource, 0))
#: lmtpd with lmtp_strict_quota: room for one more message, here of no size.
LMTPD_STRICT = Policy("lmtpd-strict", {**LMTPD.room, Resource.MESSAGE: 1})
#: smmapd (imap/smmapd.c): room for one more message, and nothing of the other two resources.
SMMAPD = Policy("smmapd", {Resource.STORAGE: 0, Resource.MESSAGE: 1}, by_header=False)

POLICIES = {policy.name: policy for policy in (LMTPD, LMTPD_STRICT, SMMAPD)}


@attrs.frozen
class Reserve:
    """How near to a limit counts as near: less than an amount left, or less than a percentage.

    Amounts are bytes or counts, by resource; percentages are of the limit.
    """

    amounts: Mapping[Resource, int] = attrs.field(factory=dict)
    percents: Mapping[Resource, float] = attrs.field(factory=dict)

    def near(self, root: QuotaRoot) -> tuple[Resource, ...]:
        """Return the resources of `root` that are not over, but have less than the reserve left."""
        if not self.amounts and not self.percents:
            return ()
        return tuple(
            resource for resource, usage in root.usages() if self._is_near(resource, usage)
        )

    def _is_near(self, resource: Resource, usage: Usage) -> bool:
        if usage.limit is None:
            return False
        left = usage.limit - usage.used
        percent = self.percents.get(resource, 0)
        is_less = left < self.amounts.get(resource, 0) or left * 100 < usage.limit * percent
        return is_less and left >= 0
