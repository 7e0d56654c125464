"""A site in a directory: INBOX rows of a flat mailboxes.db, and the headers of the mailboxes."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import attrs

from cyrusquota.cyrus import imapdconf
from cyrusquota.cyrus.names import split_domain
from cyrusquota.site.site import Site

#: What every header begins with.
HEADER = b"\xa1\x02\x8b\x0dCyrus mailbox header\nsecond line\n\tthird line\n"


@attrs.frozen
class Mailboxes:
    """The mailboxes of Cyrus 3.4 or older, in directories by name."""

    directory: Path
    uses_totals: bool = False

    def add(self, inbox: str, root: Optional[str]) -> None:
        """Make an INBOX whose header names `root`."""
        self.add_row(inbox)
        self.header(inbox).parent.mkdir(parents=True)
        self.header(inbox).write_bytes(HEADER + b"%b\tid\n" % _raw(root or ""))

    def add_row(self, inbox: str) -> None:
        """Make an INBOX whose header cannot be read."""
        with (self.directory / "mailboxes.db").open("ab") as database:
            database.write(b"%b\t0 default jane\tlrs\t\n" % _raw(inbox))

    def header(self, inbox: str) -> Path:
        domain, rest = split_domain(inbox)
        within = self.directory if domain is None else self.directory / "domain" / domain
        return within.joinpath(*rest.split("."), "cyrus.header")

    def site(self) -> Site:
        totals = "yes" if self.uses_totals else "no"
        conf = self.directory / "imapd.conf"
        conf.write_text(
            f"configdirectory: {self.directory}\npartition-default: {self.directory}\n"
            f"quota_use_conversations: {totals}\n"
        )
        (self.directory / "mailboxes.db").touch()
        return Site.from_config(imapdconf.load(conf))


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
