"""Check imapd.conf, the quota database, mailboxes.db, and options that change the verdicts."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import stat
from typing import Callable, Iterable, Iterator, Optional

import attrs

from cyrusquota.cyrus import imapdconf
from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.cyrus.names import Recipient, ascii_lower, recipient
from cyrusquota.doctor.export_command import ExportCommand
from cyrusquota.doctor.findings import KINDS, Finding, finding
from cyrusquota.errors import (
    ConfigError,
    CyrusQuotaError,
    NoSuchSource,
    OnProblem,
    SourceForbidden,
    UnsupportedBackend,
    printable,
)
from cyrusquota.maps import ALWAYS_EXEMPT
from cyrusquota.quota import QuotaRoot
from cyrusquota.site import source
from cyrusquota.site.mailboxes import is_delivered_to
from cyrusquota.site.site import Site
from cyrusquota.site.source import Source
from cyrusquota.verdicts.evaluator import Query, Verdict
from cyrusquota.verdicts.policies import LMTPD, LMTPD_STRICT, Policy
from cyrusquota.verdicts.selection import evaluate

#: Aliases often redirect these users, so they are not used to test Exim.
_ALIASES = frozenset((ALWAYS_EXEMPT, "root", "abuse", "hostmaster", "webmaster", "cyrus"))
#: How many users with room left are kept to test Exim.
_GOOD = 3
#: How many headers are checked, and how many at a time.
_HEADERS, _BATCH = 100_000, 1 << 13
#: The command in an error message that dumps a database.
_DUMPING = re.compile(r"(?:cyr_dbtool .+ show|db_dump -p .+?)(?= \|)")


@attrs.frozen
class Quotas:
    """The quota data: number of roots, the verdicts, and some users with room left (`good`)."""

    source: str
    policy: Policy
    roots: int
    verdicts: tuple[Verdict, ...]
    good: tuple[Recipient, ...]


def examine(
    path: str, service: Optional[str], export: ExportCommand
) -> tuple[list[Finding], Optional[Quotas]]:
    """Check what the imapd.conf at `path` names; return findings, and the quotas if readable."""
    try:
        conf = imapdconf.load(path, service)
        found = [*_configuration(conf), *_options(conf)]
        reading = _QuotaCheck(conf, export)
    except ConfigError as error:
        return [finding("imapd-conf-bad", _split(error)[0])], None
    found += reading.findings()
    return found, reading.quotas


def _configuration(conf: ImapdConf) -> Iterator[Finding]:
    for warning in conf.warnings:
        # A warning about services says how to choose one.
        kind = "lmtpd-services" if "--service" in warning else "imapd-conf-twice"
        yield finding(kind, warning.partition(";")[0])
    where = conf.quotalegacy_base if conf.quota_backend == "quotalegacy" else conf.quota_path
    yield finding("imapd-conf", f"{conf.path}: quota_db {conf.quota_backend}, in {where}")


def _options(conf: ImapdConf) -> Iterator[Finding]:
    on: Callable[[str], bool] = lambda name: conf.switch(name, False)  # noqa: E731
    naming = conf.naming
    if conf.get("mupdate_server") is not None:
        yield finding("murder", f"mupdate_server is {conf.get('mupdate_server')}")
    if on("lmtp_strict_quota"):
        yield finding("strict-quota", "lmtp_strict_quota is on")
    if on("quota_use_conversations"):
        yield finding("totals", "quota_use_conversations is on")
        if not on("conversations"):
            yield finding("totals-frozen", "quota_use_conversations is on, and conversations off")
    if on("lmtp_over_quota_perm_failure"):
        yield finding("perm-failure", "lmtp_over_quota_perm_failure is on")
    catchall, most = conf.get("lmtp_catchall_mailbox"), conf.get("mailbox_maxmessages_email")
    if catchall:
        yield finding("catch-all", f"lmtp_catchall_mailbox is {catchall}")
    if most and most != "0":
        yield finding("max-messages", f"mailbox_maxmessages_email is {most}")
    if not naming.downcase:
        yield finding("capitals", "lmtp_downcase_rcpt is off")
    if naming.virtdomains:
        default = naming.defaultdomain or "not set, so users without a domain get no mail"
        yield finding("virtual-domains", f"virtdomains is on; defaultdomain is {default}")


class _QuotasFailed(Exception):
    """Raised when the quota database, not mailboxes.db, could not be read."""

    def __init__(self, error: CyrusQuotaError) -> None:
        super().__init__(str(error))
        self.error = error


@attrs.define
class _QuotaCheck:
    conf: ImapdConf
    export: ExportCommand
    quotas: Optional[Quotas] = None
    _has_users: bool = False
    _problems: list[CyrusQuotaError] = attrs.field(factory=list)

    def findings(self) -> Iterator[Finding]:
        engine = self.conf.get("sql_engine")
        if self.conf.quota_backend == "sql" and engine not in (None, "sqlite"):
            path = shlex.quote(str(self.conf.quota_path))
            command = self.export.of_dump(f"cyr_dbtool {path} sql show")
            yield finding("quota-db-tool", f"the quotas are in a {engine} server", command)
            return
        quotas = source.from_config(self.conf)
        yield from self._rights(quotas)
        try:
            yield from self._evaluate(quotas)
        except _QuotasFailed as failed:
            yield self._unreadable("quota-db-bad", failed.error)
        except CyrusQuotaError as error:
            yield self._unreadable("mailboxes-bad", error)

    def _rights(self, quotas: Source) -> Iterator[Finding]:
        path = quotas.path
        if path is not None and is_open(str(path)):
            command = f"chmod o-w {shlex.quote(str(path))}"
            yield finding("quota-db-open", f"{path}: any user can write it", command)

    def _evaluate(self, quotas: Source) -> Iterator[Finding]:
        host = Site.from_config(self.conf)
        policy = LMTPD_STRICT if self.conf.switch("lmtp_strict_quota", False) else LMTPD
        note: OnProblem = self._problems.append
        query = Query(
            quotas.naming, policy, site=host, on_problem=note, catchall=self.conf.catchall_inbox
        )
        found = evaluate(quotas, query, _watched)
        good = self._users(host, quotas, found.verdicts)
        self.quotas = Quotas(quotas.name, policy, found.roots, tuple(found.verdicts), good)
        yield from self._summary(self.quotas)
        if host.has_headers:
            yield from self._headers(host, quotas)

    def _headers(self, host: Site, quotas: Source) -> Iterator[Finding]:
        """Check that the headers of INBOXes name the users' own roots, or none."""
        assert quotas.opened is not None
        with quotas.opened(_ignore) as database:
            roots = {key.decode("utf-8", "surrogateescape") for key, _ in database}
        inboxes = itertools.islice(filter(is_delivered_to, host.inboxes(_ignore)), _HEADERS)
        wrong: list[tuple[str, str]] = []
        for batch in iter(lambda: list(itertools.islice(inboxes, _BATCH)), []):
            for inbox, named in zip(batch, host.header_roots(batch)):
                own = inbox.name if inbox.name in roots else None
                is_gone = isinstance(named, str) and named not in roots
                if not isinstance(named, CyrusQuotaError) and (is_gone or own not in (None, named)):
                    wrong.append((inbox.name, named or "no root"))
        if wrong:
            count = "1 INBOX" if len(wrong) == 1 else f"{len(wrong)} INBOXes, the first"
            name, named = wrong[0]
            said = f"{count}: the header of {name} names {named}"
            do = KINDS["header-root"].do.replace("ROOT", shlex.quote(name))
            yield finding("header-root", said, do=do)

    def _users(
        self, host: Site, quotas: Source, verdicts: Iterable[Verdict]
    ) -> tuple[Recipient, ...]:
        """Return some users with room left, reading no more of mailboxes.db than needed."""
        bad = {ascii_lower(str(verdict.recipient)) for verdict in verdicts}
        good: list[Recipient] = []
        for inbox in host.inboxes(self._problems.append):
            self._has_users = self._has_users or inbox.is_live
            to = recipient(inbox.name, quotas.naming) if inbox.is_live else None
            if to is not None and ascii_lower(str(to)) not in bad and to.local not in _ALIASES:
                good.append(to)
                if len(good) == _GOOD:
                    break
        return tuple(good)

    def _summary(self, quotas: Quotas) -> Iterator[Finding]:
        if not quotas.roots and not self._problems:
            yield finding("quota-db-empty", f"{quotas.source}: no quota roots")
        else:
            full = len(quotas.verdicts)
            yield finding(
                "quota-db",
                f"{quotas.source}: {quotas.roots} quota root{'s' * (quotas.roots != 1)};"
                f" {full} user{'s' * (full != 1)} over quota",
            )
        if self._problems:
            count, first = len(self._problems), self._problems[0]
            said = "1 problem" if count == 1 else f"{count} problems, the first"
            command = self.export.line("--dry-run")
            yield finding("quota-db-records", f"{said}: {first}", command)
        if quotas.roots and not self._has_users:
            yield finding("no-inboxes", "mailboxes.db has no INBOX on this server")

    def _unreadable(self, kind: str, error: CyrusQuotaError) -> Finding:
        said, do = _split(error)
        why = self._why_new() if isinstance(error, NoSuchSource) else None
        if why is not None:
            return finding("quota-db-new", f"{said}: {why}")
        if isinstance(error, SourceForbidden):
            return finding("not-seen", said, do=do)
        if isinstance(error, UnsupportedBackend):
            dumped = _DUMPING.search(do or "")
            return finding(
                "quota-db-tool", said, *((self.export.of_dump(dumped[0]),) if dumped else ())
            )
        if kind == "mailboxes-bad":
            return finding(kind, said, self.export.line("--no-mailboxes"))
        return finding(kind, said, do=do)

    def _why_new(self) -> Optional[str]:
        """Return why Cyrus has no quota database yet, or None if it should have one.

        Cyrus makes the file with the first mailbox, or the tree (quotalegacy) with the first limit
        (tried with 3.6.1).
        """
        conf = self.conf
        if conf.quota_path.exists() or not os.path.isdir(conf.configdirectory):
            return None
        if not conf.mailboxes_path.exists():
            return "Cyrus was never started"
        try:
            has_users = any(True for _ in Site.from_config(conf).inboxes(_ignore))
        except CyrusQuotaError:
            return None
        if not has_users:
            return "Cyrus has no mailboxes yet"
        return "no limit was ever set" if conf.quota_backend == "quotalegacy" else None


def _watched(roots: Iterable[QuotaRoot]) -> Iterator[QuotaRoot]:
    """Pass `roots` on; errors become `_QuotasFailed`."""
    try:
        yield from roots
    except CyrusQuotaError as error:
        raise _QuotasFailed(error) from error


def _ignore(problem: CyrusQuotaError) -> None:
    """Take no notice of a problem that was reported before."""


def is_open(path: str) -> bool:
    """Return whether any user can write `path`, or replace files in it; False if unknown."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    writable = bool(status.st_mode & stat.S_IWOTH)
    return writable and not (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX)


def _split(error: CyrusQuotaError) -> tuple[str, Optional[str]]:
    """Split an error message into what happened and, if it says so, what to do."""
    said, _, do = printable(str(error)).partition("; ")
    return said, do or None
