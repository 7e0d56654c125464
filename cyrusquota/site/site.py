"""What a Cyrus server knows about its users beside their quota roots: INBOXes, headers, totals.

`Site.from_config` takes an imapd.conf, `Site.from_mailboxes` only a list of mailboxes. Nothing is
read before it is needed.
"""

from __future__ import annotations

import marshal
import os
import socket
from pathlib import Path
from typing import Callable, Iterable, Iterator, Optional, Sequence, TypeVar, Union

import attrs

from cyrusquota import cyrusdb
from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.cyrus.repairs import RECONSTRUCT
from cyrusquota.cyrusdb.database import TablePath
from cyrusquota.errors import (
    AnyPath,
    CyrusQuotaError,
    DamagedDatabase,
    NoSuchSource,
    OnProblem,
    Place,
    SourceError,
    printable,
    raise_problem,
    source_error,
)
from cyrusquota.site import conversations, mailbox_list, threads
from cyrusquota.site.conversations import Totals
from cyrusquota.site.databases import check_mailboxes, check_readable, database_path, exists
from cyrusquota.site.mailboxes import (
    INDEX_SIZE,
    Folder,
    Inbox,
    InboxCount,
    InboxKeys,
    Layout,
    file_path,
    folder,
    folder_keys,
    header_root,
    inboxes,
    index_count,
)

T = TypeVar("T")

#: The table of mailboxes where a SQLite file has several.
_TABLE = "mailboxes_db"


@attrs.define
class Site:
    """The mailboxes of one server, and what is stored about their users.

    `uses_totals` says that conversations totals count instead of the figures in the quota database.
    """

    #: Return every INBOX, live or not.
    read_inboxes: Callable[[OnProblem], Iterator[Inbox]]
    #: Where the mailboxes are; None where only the list of them is known.
    _layout: Optional[Layout] = None
    uses_totals: bool = False
    #: Return the conversations database of a user, by the name of their INBOX and its row.
    _totals_path: Optional[Callable[[str, Optional[Inbox]], AnyPath]] = None
    #: The list of mailboxes, and the server's own name for itself.
    path: Optional[AnyPath] = None
    servername: Optional[str] = None
    _rows: Optional[dict[str, Inbox]] = attrs.field(init=False, default=None)

    @classmethod
    def from_config(cls, conf: ImapdConf, mailboxes: Optional[AnyPath] = None) -> Site:
        """Return the site that `conf` describes; `mailboxes` replaces its mailboxes.db."""
        metadata = (conf.get("metapartition_files") or "").split()

        def directory(partition: str, kind: str) -> Optional[str]:
            within = conf.get(f"metapartition-{partition}") if kind in metadata else None
            return within or conf.get(f"partition-{partition}")

        layout = Layout(
            directory,
            hashed=conf.switch("hashimapspool", False),
            full=conf.switch("fulldirhash", False),
        )
        servername = conf.get("servername") or socket.gethostname()
        if mailboxes is None:
            path = database_path(conf, "mboxlist_db", conf.mailboxes_path)
            check_readable(conf, "mboxlist_db", conf.mailboxes_path)
        else:
            path = TablePath(os.fspath(mailboxes), _TABLE)
        base = conf.get("mboxname_userpath") or conf.configdirectory

        def totals_path(name: str, inbox: Optional[Inbox]) -> AnyPath:
            file = conversations.path(name, inbox, base, full=layout.full)
            path = database_path(conf, "conversations_db", file)
            check_readable(conf, "conversations_db", file)
            return path

        return cls(
            _reader(path),
            layout,
            uses_totals=conf.switch("quota_use_conversations", False),
            totals_path=totals_path,
            path=path,
            servername=servername,
        )

    @classmethod
    def from_mailboxes(cls, mailboxes: AnyPath) -> Site:
        """Return a site of which only the list of mailboxes is known."""
        path = TablePath(os.fspath(mailboxes), _TABLE)
        return cls(_reader(path), path=path)

    def inboxes(self, on_problem: OnProblem = raise_problem) -> Iterator[Inbox]:
        """Return every INBOX, live or not.

        Raises `NoSuchSource` without a list of mailboxes, and what reading it raises.
        """
        return self.read_inboxes(on_problem)

    def named(self, names: Iterable[str], on_problem: OnProblem = raise_problem) -> Iterator[Inbox]:
        """Return the INBOXes called `names`, and maybe others; faster when `names` are few.

        Raises what `inboxes` raises.
        """
        if self.path is None or not exists(self.path) or cyrusdb.guess(self.path) is None:
            yield from self.inboxes(on_problem)
            return
        found = cyrusdb.select(self.path, InboxKeys(names), on_problem=on_problem)
        yield from inboxes(found.kept)

    def counted(
        self, names: Iterable[str], on_problem: OnProblem = raise_problem
    ) -> Optional[tuple[int, Iterator[Inbox]]]:
        """Return the number of INBOXes that mail is delivered to, and those called `names`.

        None where only `inboxes` tells; then nothing was reported. Raises what that raises.
        """
        if self.path is None or not exists(self.path) or cyrusdb.guess(self.path) is None:
            return None
        found = cyrusdb.scanned(self.path, cyrusdb.Fold(InboxCount(InboxKeys(names))))
        if found is None or not found.records:
            return None
        count, kept, is_first = 0, list[tuple[bytes, bytes]](), True
        for _, state in found.kept:
            first, live, records = marshal.loads(state)
            if is_first:
                check_mailboxes(first[0], first[1], str(self.path))
                is_first = False
            count += live
            kept += records
        return count, inboxes(kept)

    def folder(self, name: str) -> Optional[Folder]:
        """Return the mailbox called `name`, which need not be an INBOX, or None.

        Raises what `inboxes` raises. A dump in JSON is not searched.
        """
        if self.path is None or not exists(self.path):
            return None
        if cyrusdb.guess(self.path) is not None:
            found = cyrusdb.lookup(self.path, frozenset(folder_keys(name)))
            return folder(name, ((key, row) for key, row in found.items() if row is not None))
        with Path(self.path).open("rb") as stream:
            pairs = (line.rstrip(b"\r\n").partition(b"\t") for line in stream)
            return folder(name, ((key, value) for key, _, value in pairs))

    def alone(self, inbox: Optional[Inbox]) -> Site:
        """Return this site with no INBOX but this one."""
        rows = [] if inbox is None else [inbox]
        return self.with_inboxes(lambda on_problem: iter(rows))

    def with_inboxes(self, read_inboxes: Callable[[OnProblem], Iterator[Inbox]]) -> Site:
        """Return this site with another way to read its INBOXes."""
        return attrs.evolve(self, read_inboxes=read_inboxes)

    @property
    def has_headers(self) -> bool:
        """Whether the headers of mailboxes can be found."""
        return self._layout is not None

    def header_root(self, inbox: Inbox) -> Optional[str]:
        """Return the quota root that the header of `inbox` names, or None; lmtpd goes by it.

        Raises `SourceError` or `DamagedDatabase` where the header cannot be read.
        """
        return self._interpreted(inbox, "header", header_root)

    def header_roots(self, inboxes: Sequence[Inbox]) -> list[Union[Optional[str], CyrusQuotaError]]:
        """Return what `header_root` returns or raises, for each of many."""

        def read(inbox: Inbox) -> Union[Optional[str], CyrusQuotaError]:
            try:
                return self.header_root(inbox)
            except CyrusQuotaError as error:
                return error

        return threads.each(read, inboxes)

    def message_count(self, inbox: Inbox) -> int:
        """Return the number of messages in `inbox`, which mailbox_maxmessages_email limits.

        Raises `SourceError` or `DamagedDatabase` where the index of the mailbox cannot be read.
        """
        return self._interpreted(inbox, "index", index_count, INDEX_SIZE)

    def _interpreted(
        self, inbox: Inbox, kind: str, interpret: Callable[[bytes], T], size: int = -1
    ) -> T:
        """Return what `interpret` makes of the first `size` bytes of a file of a mailbox."""
        path = None if self._layout is None else file_path(inbox, kind, self._layout)
        if path is None:
            raise SourceError(
                f"the directory of partition {inbox.partition!r} is not known; name the imapd.conf"
                " that has it with -C"
            )
        try:
            with open(path, "rb", buffering=0) as file:
                content = file.read(size)
        except (OSError, ValueError) as error:
            # A name with NUL is no path.
            raise source_error(
                error if isinstance(error, OSError) else FileNotFoundError(), path
            ) from error
        try:
            return interpret(content)
        except ValueError as error:
            expected = str(error).removeprefix("expected ")
            raise DamagedDatabase(
                expected,
                place=Place(path, offset=0),
                found=content[:60],
                advice=RECONSTRUCT,
            ) from error

    def totals(self, name: str, on_problem: OnProblem = raise_problem) -> Totals:
        """Return the conversations totals of the user whose INBOX is `name`.

        Raises what `conversations.totals` raises.
        """
        return conversations.totals(self.totals_path(name, on_problem))

    def totals_path(self, name: str, on_problem: OnProblem = raise_problem) -> AnyPath:
        """Return the conversations database of the user whose INBOX is `name`.

        Raises `UnsupportedBackend` for a backend that cannot be read.
        """
        assert self._totals_path is not None
        if self._rows is None:
            # Rows are looked up by name only here, so only sites with totals keep them all.
            self._rows = {inbox.name: inbox for inbox in self.inboxes(on_problem)}
        return self._totals_path(name, self._rows.get(name))


def _checked(records: Iterable[tuple[bytes, bytes]], name: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield records of mailboxes; raises `DataError` where the first is one of quotas."""
    is_first = True
    for key, value in records:
        if is_first:
            check_mailboxes(key, value, name)
            is_first = False
        yield key, value


def _reader(path: AnyPath) -> Callable[[OnProblem], Iterator[Inbox]]:
    """Return a function that reads mailboxes.db, or a dump by `ctl_mboxlist -d`, at each call.

    A flat database has no magic bytes, and the same lines as a dump.
    """

    def read(on_problem: OnProblem) -> Iterator[Inbox]:
        if not exists(path):
            raise NoSuchSource(
                f"{printable(str(path))}: no such file; name the list of mailboxes with"
                " --mailboxes, or give --no-mailboxes"
            )
        if cyrusdb.guess(path) is not None:
            with cyrusdb.open(path, on_problem=on_problem) as db:
                yield from inboxes(_checked(db, str(path)))
            return
        with Path(path).open("rb") as stream:
            yield from mailbox_list.from_dump(stream, source=str(path), on_problem=on_problem)

    return read
