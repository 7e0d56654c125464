"""Check what Exim answers: about a user over quota, users with room, and one who does not exist."""

from __future__ import annotations

import contextlib
import re
from typing import Iterator, Optional, Sequence

from cyrusquota.cyrus.names import Recipient
from cyrusquota.doctor.cyrus import Quotas
from cyrusquota.doctor.exim import unanswered
from cyrusquota.doctor.export_command import ExportCommand
from cyrusquota.doctor.findings import Finding, finding
from cyrusquota.errors import EximError, printable
from cyrusquota.maps import FORMATS
from cyrusquota.maps.installed import InstalledMap
from cyrusquota.maps.redirect import refuses
from cyrusquota.mta.exim import Exim, VerifyResult, VerifyStatus
from cyrusquota.mta.recipients import NOBODY, acls_at_rcpt, domains_outside, router_of_unknown
from cyrusquota.mta.router import OverquotaRouter, alias_routers
from cyrusquota.mta.transport import leads_to_cyrus

#: The kind of rule and the reply codes, which come before the text in a value.
_VALUE = re.compile(rb"^:(?:defer|fail):\s*(?:[245][0-9]{2}\s+)?(?:[245]\.[0-9.]+\s+)?")
#: The most domains of users to ask about.
_DOMAINS = 50


def examine(
    exim: Exim,
    router: Optional[OverquotaRouter],
    path: str,
    table: Optional[InstalledMap],
    quotas: Optional[Quotas],
    domain: Optional[str],
    export: ExportCommand,
) -> list[Finding]:
    """Check the router against its map, and ask Exim about users; `domain` is that of most."""
    try:
        users = exim.local_domain() if domain is None else domain
        good = [] if quotas is None else [_address(to, users) for to in quotas.good]
        found = [] if router is None else [*_position(exim, router, good)]
        if router is not None and quotas is not None:
            users_here = [*(one.recipient for one in quotas.verdicts), *quotas.good]
            found += _domains(exim, router, users_here, domain)
        if router is not None and router.map != path:
            said = f"router {router.router.name} uses {router.map}, not {path}"
            found.append(finding("router-map", said))
        elif router is not None and table is not None:
            found += _matched(router, table, export)
            if quotas is not None and table.age() < (router.max_age or float("inf")):
                listed = (one.recipient for one in quotas.verdicts if _has(table, one.recipient))
                found += _full(exim, router, table, next(listed, None), users)
        found += _good(exim, good)
        found += _unknown(exim, good[0].partition("@")[2] or users if good else users)
    except EximError as error:
        return [unanswered(error, exim)]
    return found


def examine_mx(
    exim: Exim, router: OverquotaRouter, table: InstalledMap, domain: Optional[str]
) -> list[Finding]:
    """Check the router of an MX without Cyrus against its map, and ask Exim about a listed user."""
    try:
        found = [*_matched(router, table, None)]
        to = next(_listed(table), None)
        if table.age() >= (router.max_age or float("inf")):
            return found
        users = exim.local_domain() if domain is None else domain
        if to is not None:
            found += _position(exim, router, [_address(to, users)])
            found += _domains(exim, router, [to], domain)
        found += _full(exim, router, table, to, users)
    except EximError as error:
        return [unanswered(error, exim)]
    return found


def _listed(table: InstalledMap) -> Iterator[Recipient]:
    """Yield the users whom a map lists as full."""
    for key in sorted(table.keys):
        local, _, domain = key.decode("utf-8", "surrogateescape").rpartition("@")
        to = Recipient(local, domain) if local else Recipient(domain)
        if _has(table, to):
            yield to


def _address(to: Recipient, domain: Optional[str]) -> str:
    return str(to) if to.domain is not None or domain is None else f"{to.local}@{domain}"


def _has(table: InstalledMap, to: Recipient) -> bool:
    value = table.value(str(to))
    return value is not None and refuses(value)


def _position(exim: Exim, router: OverquotaRouter, good: Sequence[str]) -> Iterator[Finding]:
    """Check that the router comes after aliases, and before the one that delivers to `good`."""
    routers = exim.routers()
    names = [one.name for one in routers]
    routes = [route for route in map(exim.route, good) if route is not None]
    delivering = {name for name, _ in routes if name in names}
    before = sorted(name for name in delivering if names.index(name) < router.position)
    said = f"router {router.router.name} uses {router.map}"
    if before:
        yield finding("router-late", f"{said}, after {', '.join(before)}, which delivers")
    elif delivering:
        yield finding("router", f"{said}, before {', '.join(sorted(delivering))}, which delivers")
    else:
        yield finding("router", f"{said}; the router that delivers is not known")
    end = max(map(names.index, delivering), default=len(routers))
    aliases = [one.name for at, one in alias_routers(routers[:end]) if at > router.position]
    if aliases:
        said = f"router {router.router.name} comes before {', '.join(aliases)}"
        yield finding("router-aliases", said)


def _domains(
    exim: Exim, router: OverquotaRouter, users: Sequence[Recipient], domain: Optional[str]
) -> Iterator[Finding]:
    """Check that the router looks up the users of their domains."""
    named = dict.fromkeys([domain, *(to.domain for to in users)])
    wanted, listed = [name for name in named if name is not None], router.router.text("domains")
    outside = domains_outside(exim, wanted[:_DOMAINS], listed)
    if outside:
        said = f"router {router.router.name}: its domains, {listed}, are without"
        yield finding("router-domains", f"{said} {', '.join(outside)}")


def _matched(
    router: OverquotaRouter, table: InstalledMap, export: Optional[ExportCommand]
) -> Iterator[Finding]:
    """Check that the router understands the map."""
    name, kind = f"router {router.router.name}", router.lookup
    if table.format == "postfix" or kind not in (None, table.format):
        looks = "leaves the lookup to an ACL" if kind is None else f"expects {kind}"
        commands = (
            (export.line("--map-format", kind),)
            if export is not None and kind is not None and kind in FORMATS
            else ()
        )
        yield finding(
            "router-format", f"{table.path}: is {table.format}; {name} {looks}", *commands
        )
    if router.looks_up_local_parts and any(b"@" in key for key in table.keys):
        yield finding("router-key", f"{name}: its lookup key does not contain $domain")
    knows = router.router.is_on("allow_fail") and "fail" in router.router.text("condition")
    if b":fail: " in table.content and not knows:
        said = f"{table.path}: has :fail: entries, which {name} does not handle"
        yield finding("router-fail", said)
    if re.search(rb"free=[0-9]", table.content) and "free=" not in router.router.text("condition"):
        yield finding("router-headroom", f"{table.path}: has free= entries, which {name} ignores")


def _full(
    exim: Exim,
    router: OverquotaRouter,
    table: InstalledMap,
    to: Optional[Recipient],
    domain: Optional[str],
) -> Iterator[Finding]:
    if to is None:
        yield finding("full-nobody", "nobody is over quota, or they are not in the map yet")
        return
    full = _address(to, domain)
    answer, why = exim.verify(full), _why(exim, full)
    if answer.status is not VerifyStatus.ACCEPTED:
        is_ours = router.defers_by_acl or _text(table.value(str(to)) or b"") in answer.text
        if is_ours:
            yield finding("full-deferred", answer.text)
        elif not answer.has_reason:
            yield finding("not-seen", f"{answer.text}; Exim tells only its administrators why")
        else:
            yield finding("full-otherwise", answer.text, why)
    elif router.defers_by_acl:
        yield finding("full-deferred", f"{full}: the router set $address_data, and the ACL defers")
    else:
        said = f"{full} is in the map, and Exim says: {answer.text}"
        yield finding("full-accepted", said, why)


def _why(exim: Exim, address: str) -> str:
    return exim.command("-d+route", "-bv", address)


def _text(value: bytes) -> str:
    """Return the part of a value that senders read."""
    return printable(_VALUE.sub(b"", value))


def _good(exim: Exim, good: Sequence[str]) -> Iterator[Finding]:
    answers: list[VerifyResult] = []
    for address in good:
        answers.append(exim.verify(address))
        if answers[-1].status is VerifyStatus.ACCEPTED:
            yield finding("good-accepted", answers[-1].text)
            return
    if answers:
        deferred = answers[0].status is VerifyStatus.DEFERRED
        kind = "good-deferred" if deferred else "good-refused"
        yield finding(kind, answers[0].text, _why(exim, good[0]))


def _unknown(exim: Exim, domain: Optional[str]) -> Iterator[Finding]:
    """Find a router that sends mail for users who do not exist to Cyrus."""
    # Exim before 4.86 cannot print its ACLs, and they may ask Cyrus.
    with contextlib.suppress(EximError):
        found = router_of_unknown(exim, domain, acls_at_rcpt(exim))
        to_cyrus = {one.name for one in exim.transports() if leads_to_cyrus(one)}
        if found is not None and found[1] in to_cyrus:
            address = NOBODY if domain is None else f"{NOBODY}@{domain}"
            said = f"{address}: accepted by router {found[0]}; lmtpd will refuse the mail, and Exim"
            yield finding("unknown-accepted", f"{said} will send a bounce to a stranger")
