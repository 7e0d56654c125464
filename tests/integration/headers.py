"""Every combination of what the header of an INBOX names and which quota roots there are.

Each pair of the roots above (`dom!user` and `dom!`) has a domain of its own, and in it there is a
user for each root that a header can name and for each row of their own.
"""

from __future__ import annotations

import itertools
from typing import Iterator, NamedTuple, Optional

from .cyrus import Cyrus
from .verdicts import FULL, ROOMY

OPTIONS = {"virtdomains": "userid", "defaultdomain": "default.example"}
VALUES = {"full": FULL, "roomy": ROOMY, "bad": b"garbage"}
#: What a header can name: nothing, the user's own root, or one of the two above it.
HEADERS = ("none", "own", "user", "domain")
OWN = (None, "full", "roomy", "bad")
ABOVE = (None, "full", "roomy")


class Case(NamedTuple):
    """What one header names, and what each root has: a name of VALUES, or None without a row."""

    header: str
    own: Optional[str]
    user: Optional[str]
    domain: Optional[str]

    @property
    def mail_domain(self) -> str:
        return f"{self.user or 'gone'}.{self.domain or 'gone'}.example".lower()

    @property
    def address(self) -> str:
        return f"{self.header}-{self.own or 'gone'}@{self.mail_domain}"

    @property
    def roots(self) -> dict[str, Optional[str]]:
        """The name of each root, and what it has in the end."""
        local, _, domain = self.address.partition("@")
        return {
            f"{domain}!user.{local}": self.own,
            f"{domain}!user": self.user,
            f"{domain}!": self.domain,
        }

    @property
    def named(self) -> Optional[str]:
        """The root that the header names."""
        own, user, domain = self.roots
        return {"none": None, "own": own, "user": user, "domain": domain}[self.header]


CASES = [Case(*parts) for parts in itertools.product(HEADERS, OWN, ABOVE, ABOVE)]


def build(cyrus: Cyrus) -> None:
    """Let Cyrus make the users, while there is the root that their header is to name."""
    for header in HEADERS:
        made = [case for case in CASES if case.header == header]
        there = {case.named: ROOMY for case in made if case.named is not None}
        if there:
            cyrus.set_rows(there)
        cyrus.create(*(cyrus.mailbox(case.address) for case in made))
        cyrus.delete_rows(there)
    cyrus.set_rows(dict(_rows()))


def _rows() -> Iterator[tuple[str, bytes]]:
    for case in CASES:
        for root, name in case.roots.items():
            if name is not None:
                yield root, VALUES[name]
