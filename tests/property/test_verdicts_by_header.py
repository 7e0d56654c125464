"""Whatever headers and rows there are, the verdict is what lmtpd or smmapd makes of them.

The rules below are those that the recorded answers show (tests/unit/test_headers_beside_lmtpd.py).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Mapping, Optional

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyrusquota.cyrus.names import Naming
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.site import source
from cyrusquota.verdicts.evaluator import Query, evaluate_roots, noting
from cyrusquota.verdicts.policies import LMTPD, LMTPD_STRICT, SMMAPD, Policy
from cyrusquota.verdicts.selection import evaluate
from tests.mailboxes import Mailboxes

VALUES = {
    "full": b"%(S (2049 2) M (0) AS (0) NF (1))",
    "roomy": b"%(S (2048 2) M (0) AS (0) NF (1))",
    "bad": b"garbage",
}
DOMAIN = "example.org"
USERS = ("a", "b", "c.d")
#: What a header names: nothing, a root, or it cannot be read (UNREAD).
UNREAD = "unread"
HEADERS = ("none", "own", "user", "domain", "gone", "shared", UNREAD)


@attrs.frozen
class User:
    """A user in the domain or without one: what their header names, and the row of their own."""

    local: str
    in_domain: bool
    header: str
    own: Optional[str]

    @property
    def prefix(self) -> str:
        return f"{DOMAIN}!" if self.in_domain else ""

    @property
    def inbox(self) -> str:
        return f"{self.prefix}user.{self.local.replace('.', '^')}"

    @property
    def above(self) -> tuple[str, ...]:
        return (f"{self.prefix}user", self.prefix) if self.in_domain else ("user",)

    @property
    def named(self) -> Optional[str]:
        """The root that the header names."""
        named = {"own": self.inbox, "user": f"{self.prefix}user", "domain": f"{DOMAIN}!"}
        named.update({"gone": f"{self.prefix}user.gone", "shared": "shared"})
        return named.get(self.header)

    @property
    def address(self) -> str:
        return f"{self.local}@{DOMAIN if self.in_domain else 'default.example'}"


def _nearest(user: User, rows: Mapping[str, str]) -> Optional[str]:
    return next((rows[name] for name in (user.inbox, *user.above) if name in rows), None)


def _is_refused(user: User, rows: Mapping[str, str], policy: Policy, trusts_rows: bool) -> bool:
    if policy is SMMAPD or user.header == UNREAD or (trusts_rows and user.own is not None):
        return _nearest(user, rows) == "full"
    is_asked = "full" in (rows.get(name) for name in (user.inbox, *user.above))
    # Other names in headers are for the doctor to find.
    return is_asked and user.named is not None and rows.get(user.named) == "full"


_user = st.builds(
    User,
    st.sampled_from(USERS),
    st.booleans(),
    st.sampled_from(HEADERS),
    st.sampled_from([None, *VALUES]),
)
_others = st.dictionaries(
    st.sampled_from(["user", f"{DOMAIN}!", f"{DOMAIN}!user", "shared"]), st.sampled_from([*VALUES])
)


def _ignore(problem: CyrusQuotaError) -> None:
    """Rows and headers that cannot be read are among what is generated."""


@pytest.mark.parametrize("policy", [LMTPD, LMTPD_STRICT, SMMAPD])
@given(
    users=st.lists(_user, max_size=6, unique_by=lambda user: user.inbox),
    others=_others,
    trusts_rows=st.booleans(),
)
@example([User("a", False, "none", "full")], {}, False)
@example([User("a", False, "user", "roomy")], {"user": "full"}, False)
@example([User("a", True, "domain", None)], {f"{DOMAIN}!user": "roomy", f"{DOMAIN}!": "full"}, True)
@example([User("a", True, UNREAD, "bad")], {f"{DOMAIN}!user": "full"}, False)
def test_the_verdict_follows_from_header_and_rows(
    policy: Policy, users: list[User], others: dict[str, str], trusts_rows: bool
) -> None:
    rows = {**{user.inbox: user.own for user in users if user.own is not None}, **others}
    expected = {user.address for user in users if _is_refused(user, rows, policy, trusts_rows)}
    with tempfile.TemporaryDirectory() as directory:
        mailboxes = Mailboxes(Path(directory))
        for user in users:
            if user.header == UNREAD:
                mailboxes.add_row(user.inbox)
            else:
                mailboxes.add(user.inbox, user.named)
        quotas = Path(directory, "quotas.db")
        lines = (b"%b\t%b\n" % (name.encode(), VALUES[rows[name]]) for name in sorted(rows))
        quotas.write_bytes(b"".join(lines))
        naming = Naming(virtdomains=True, defaultdomain="default.example")
        asked = source.from_database(quotas, "flat", naming)
        query = Query(naming, policy, site=mailboxes.site(), on_problem=_ignore)
        query = attrs.evolve(query, trusts_rows=trusts_rows)
        assert {str(one.recipient) for one in evaluate(asked, query).verdicts} == expected
        unreadable: set[str] = set()
        roots = asked.roots(noting(unreadable, _ignore))
        everything = evaluate_roots(roots, query, unreadable)
        assert {str(one.recipient) for one in everything} == expected
