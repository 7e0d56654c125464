"""Find one user, the quota root that governs their INBOX, and the verdict on them.

The rules are those of the export (`cyrusquota.verdicts`). Only the rows that matter are read from
the quota database and mailboxes.db. The header of the INBOX, which names the root that lmtpd uses,
is always read.
"""

from __future__ import annotations

import re
from typing import AbstractSet, Iterator, Mapping, Optional

import attrs

from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.cyrus.names import Naming, Recipient, ancestors, recipient
from cyrusquota.errors import (
    BadValue,
    CyrusQuotaError,
    NoSuchUser,
    OptionError,
    printable,
)
from cyrusquota.explain.names import (
    address,
    folder_of,
    inbox_names,
    nearest,
    shared_folder,
    unreachable_because,
    wanted_part,
)
from cyrusquota.explain.rows import (
    inboxes_in,
    inboxes_named,
    names_in,
    roots_below,
    roots_named,
)
from cyrusquota.quota import QuotaRoot, Resource
from cyrusquota.site.mailboxes import Folder, Inbox
from cyrusquota.site.site import Site
from cyrusquota.site.source import Source
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Query, Verdict
from cyrusquota.verdicts.policies import Policy


@attrs.frozen
class User:
    """A user, and all that the server's answer depends on.

    `root` has the figures that Cyrus compares, `stored` those of the quota database; both are None
    if no root governs the user. `nearest` is the nearest root in the quota database, `named` the
    root that the header of the INBOX names. `inbox` is None without a row in mailboxes.db;
    `has_list` says whether there is a mailboxes.db. `problem` is the error that kept the figures
    from being read. `listed` is the verdict of the export. `shared` is the shared folder that this
    is instead of a user, if mail is addressed to one. `folder` is the folder of the user that was
    asked about, and `folder_roots` are the quota roots below the INBOX, if they were looked for:
    what these hold does not count for mail to the INBOX. `catchall` is the user who gets the mail
    that lmtpd does not take for this one. `messages` is the number of messages in the INBOX, and
    `max_messages` the limit of mailbox_maxmessages_email, if there is one. `unreachable` is why no
    mail can be addressed to this name, where `recipient` is None.
    """

    name: str
    address: Recipient
    recipient: Optional[Recipient]
    inbox: Optional[Inbox]
    has_list: bool
    policy: Policy
    root: Optional[QuotaRoot] = None
    stored: Optional[QuotaRoot] = None
    nearest: Optional[str] = None
    named: Optional[str] = None
    header_problem: Optional[CyrusQuotaError] = None
    problem: Optional[CyrusQuotaError] = None
    listed: Optional[Verdict] = None
    is_shared: bool = False
    shared: Optional[Folder] = None
    folder: Optional[str] = None
    folder_roots: tuple[QuotaRoot, ...] = ()
    catchall: Optional[User] = None
    messages: Optional[int] = None
    max_messages: Optional[int] = None
    unreachable: str = ""

    @property
    def has_too_many_messages(self) -> bool:
        """Whether lmtpd refuses the next message after DATA (mailbox_maxmessages_email)."""
        if self.messages is None or self.max_messages is None:
            return False
        return self.messages >= self.max_messages

    @property
    def over(self) -> tuple[Resource, ...]:
        """The resources for which the server refuses mail."""
        return () if self.root is None else self.policy.over(self.root)


def check(asked: str) -> None:
    """Raise `OptionError` if `asked` cannot be a user under any naming."""
    # `+FOLDER` is a shared folder, unless postuser is set.
    if not inbox_names(asked, Naming()) and not re.match(r"\+[^@]", asked):
        raise OptionError(f"expected an address or the name of a user, found {printable(asked)!r}")


def found(asked: str, source: Source, query: Query, conf: Optional[ImapdConf] = None) -> User:
    """Return the user, or the shared folder, that `asked` means.

    Raises `NoSuchUser`, and what reading the source raises.
    """
    check(asked)
    shared = None if conf is None else shared_folder(asked, conf)
    names = inbox_names(asked, source.naming) if shared is None else (shared,)
    search = _Search(asked, names, source, query, is_shared=shared is not None)
    catchall = _catchall(source, query)
    if catchall is not None and catchall.name not in names:
        search.catchall = catchall
    user = _with_folders(search.user(), asked, source, query, conf)
    limit = 0 if conf is None else _max_messages(conf)
    if not limit or user.inbox is None or query.site is None or not user.inbox.is_live:
        return user
    try:
        count = query.site.message_count(user.inbox)
    except CyrusQuotaError as error:
        query.on_problem(error)
        return user
    return attrs.evolve(user, messages=count, max_messages=limit)


def _with_folders(
    user: User, asked: str, source: Source, query: Query, conf: Optional[ImapdConf]
) -> User:
    """Return `user` with the quota roots below the INBOX, if they are of interest."""
    folder = None if user.is_shared else folder_of(asked, user.name, conf)
    if not (folder or user.over) or user.is_shared:
        return user
    roots = roots_below(source, user.name, query.on_problem)
    return attrs.evolve(user, folder=folder, folder_roots=tuple(roots))


def _catchall(source: Source, query: Query) -> Optional[User]:
    """Return the user of lmtp_catchall_mailbox, who may have no INBOX, or None if it is not set."""
    if query.catchall is None or not query.policy.by_header:
        return None
    alone = attrs.evolve(query, catchall=None)
    try:
        return _Search(query.catchall, (query.catchall,), source, alone).user()
    except NoSuchUser:
        shown = address(query.catchall, source.naming)
        return User(query.catchall, shown, None, None, query.site is not None, query.policy)


def _max_messages(conf: ImapdConf) -> int:
    """Return the limit of mailbox_maxmessages_email, 0 without one."""
    value = conf.get("mailbox_maxmessages_email") or ""
    return int(value) if re.fullmatch("[0-9]{1,10}", value) else 0


@attrs.define
class _Search:
    asked: str
    names: tuple[str, ...]
    source: Source
    query: Query
    is_shared: bool = False
    catchall: Optional[User] = None
    shared: Optional[Folder] = None
    _bad: dict[str, CyrusQuotaError] = attrs.field(factory=dict)

    def user(self) -> User:
        inbox = self._inbox()
        named, header_problem = self._header_root(inbox)
        roots = self._roots(named)
        name = self._name(inbox, roots)
        if name is None and self.catchall is not None and self.catchall.inbox is not None:
            # lmtpd gives mail for unknown users to the catch-all, too.
            name = self.names[0]
        if name is None:
            raise self._unknown()
        naming = self.source.naming
        to, shown = recipient(name, naming), address(name, naming)
        if self.is_shared:
            to = shown = Recipient(*_split_address(self.asked))
        known = roots.keys() | self._bad.keys()
        nearest = next((root for root in self._above(name) if root in known), None)
        user = User(
            name,
            shown,
            to,
            inbox,
            self.query.site is not None,
            self.query.policy,
            nearest=nearest,
            named=named,
            header_problem=header_problem,
            is_shared=self.is_shared,
            shared=self.shared,
            catchall=self.catchall,
            unreachable="" if to is not None else unreachable_because(name, naming),
        )
        return self._evaluated(user, roots)

    def _inbox(self) -> Optional[Inbox]:
        """Return the row of the first name that has a live INBOX, or else any row."""
        if self.query.site is None:
            return None
        if self.is_shared:
            self.shared = self.query.site.folder(self.names[0])
            return None if self.shared is None else self.shared.row
        rows = {one.name: one for one in self._inboxes(self.query.site, set(self.names))}
        ordered = [rows[name] for name in self.names if name in rows]
        return next((one for one in ordered if one.is_live), ordered[0] if ordered else None)

    def _inboxes(self, site: Site, names: AbstractSet[str]) -> Iterator[Inbox]:
        # Since 3.0, lmtpd cannot reach user.jane@example^org, a name of 2.x.
        for inbox in inboxes_named(site, names, self.query.on_problem):
            if inbox.name in names and not (inbox.is_modern and "@" in inbox.name):
                yield inbox

    def _header_root(
        self, inbox: Optional[Inbox]
    ) -> tuple[Optional[str], Optional[CyrusQuotaError]]:
        if inbox is None or self.query.site is None or not inbox.is_live:
            return None, None
        try:
            return self.query.site.header_root(inbox), None
        except CyrusQuotaError as error:
            return None, error

    def _above(self, name: str) -> Iterator[str]:
        return ancestors(name, virtdomains=self.source.naming.virtdomains is not False)

    def _roots(self, named: Optional[str]) -> Mapping[str, QuotaRoot]:
        wanted = {above for name in self.names for above in self._above(name)}
        wanted |= set() if named is None else {named}
        roots = roots_named(self.source, wanted, self._note_problem)
        # A value that is cut short is a problem, but Cyrus reads a root without limits.
        for name in roots.keys() & self._bad.keys():
            self.query.on_problem(self._bad.pop(name))
        return roots

    def _note_problem(self, problem: CyrusQuotaError) -> None:
        key = problem.place.key if isinstance(problem, BadValue) else None
        if key is None:
            self.query.on_problem(problem)
        else:
            self._bad[key.decode("utf-8", "surrogateescape")] = problem

    def _name(self, inbox: Optional[Inbox], roots: Mapping[str, QuotaRoot]) -> Optional[str]:
        if inbox is not None:
            return inbox.name
        known = (name for name in self.names if name in roots or name in self._bad)
        return next(known, None)

    def _unknown(self) -> NoSuchUser:
        looked = " and ".join(self.names)
        lacks = "an INBOX or a quota root" if self.query.site is not None else "a quota root"
        size, naming = len(wanted_part(self.asked)), self.source.naming
        alike = nearest(self.asked, names_in(self.source, size, self.query.on_problem), naming)
        if not alike and self.query.site is not None:
            alike = nearest(
                self.asked, inboxes_in(self.query.site, size, self.query.on_problem), naming
            )
        advice = f"did you mean {' or '.join(alike)}?" if alike else "check the spelling"
        return NoSuchUser(
            f"{printable(self.asked)}: nobody of that name has {lacks} here; looked for"
            f" {printable(looked)}; {printable(advice)}"
        )

    def _evaluated(self, user: User, roots: Mapping[str, QuotaRoot]) -> User:
        name = user.nearest
        if self.query.policy.by_header and user.inbox is not None and user.header_problem is None:
            name = user.named
        unread = None if name is None else self._bad.get(name)
        if unread is not None:
            return attrs.evolve(user, problem=unread)
        stored = None if name is None else roots.get(name)
        site = None if self.query.site is None else self.query.site.alone(user.inbox)
        root, problem = stored, None
        if stored is not None and site is not None:
            try:
                root = evaluator.enforced(stored, site)
            except CyrusQuotaError as error:
                problem = error
        listed = self._listed(roots, user, site)
        return attrs.evolve(user, root=root, stored=stored, problem=problem, listed=listed)

    def _listed(
        self, roots: Mapping[str, QuotaRoot], user: User, site: Optional[Site]
    ) -> Optional[Verdict]:
        problems: list[CyrusQuotaError] = []
        verdicts = evaluator.evaluate_roots(
            roots.values(),
            attrs.evolve(self.query, site=site, on_problem=problems.append, catchall=None),
            self._bad.keys(),
        )
        return next((one for one in verdicts if one.recipient == user.recipient), None)


def _split_address(asked: str) -> tuple[str, Optional[str]]:
    local, at, domain = asked.rpartition("@")
    return (local, domain) if at else (asked, None)
