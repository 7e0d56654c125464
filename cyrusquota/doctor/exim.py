"""Check Exim: its configuration as `exim -bP` prints it, and its answers about addresses.

The router is recognised by what it does (`cyrusquota.mta.router`), so every variant in exim/ is
found, and what a site has made of it.
"""

from __future__ import annotations

import re
from typing import Iterator, Optional, Sequence

from cyrusquota.cyrus.names import Recipient
from cyrusquota.doctor.cyrus import Quotas
from cyrusquota.doctor.findings import Finding, finding
from cyrusquota.errors import EximError, printable
from cyrusquota.maps.installed import InstalledMap
from cyrusquota.mta.exim import Driver, Exim, VerifyResult, VerifyStatus
from cyrusquota.mta.router import OverquotaRouter, overquota_routers
from cyrusquota.mta.transport import quota_ignored_by

_VERIFY = re.compile(r"\bverify *= *recipient\b")
_ACL = re.compile(r"^ {2}([A-Za-z0-9_-]+):$", re.MULTILINE)
#: Exim's message when it answers admin users only.
_FOR_ADMINS = re.compile(r"require admin|[Pp]ermission denied$")
#: The kind of rule and the reply codes, which come before the text in a value.
_VALUE = re.compile(rb"^:(?:defer|fail):\s*(?:[245][0-9]{2}\s+)?(?:[245]\.[0-9.]+\s+)?")
_FORBIDDEN = ("forbid_blackhole", "forbid_file", "forbid_include", "forbid_pipe")


def check_configuration(
    exim: Optional[Exim], path: str
) -> tuple[list[Finding], Optional[OverquotaRouter], Optional[Exim]]:
    """Check the configuration; return findings, the router with the map, and a working Exim."""
    if exim is None:
        return [finding("no-exim", "no Exim was checked")], None, None
    found: list[Finding] = []
    router = None
    try:
        version, file = exim.version(), exim.configuration_file()
        found.append(finding("exim", f"{exim.program}: Exim {version}, {file}"))
        routers = exim.routers()
        router = next(overquota_routers(routers, path), None)
        if exim.is_on("smtp_return_error_details"):
            found.append(finding("error-details", f"{file}: smtp_return_error_details is on"))
        found += _transports(routers, exim.transports())
        if router is None:
            found.append(finding("router-missing", f"{file}: no router uses a map"))
        else:
            found += [*_router(exim, router), *_acls(exim, router, file)]
    except EximError as error:
        found.append(_unanswered(error))
    return found, router, None if router is None else exim


def _unanswered(error: EximError) -> Finding:
    said, _, do = str(error).rpartition("; ")
    if _FOR_ADMINS.search(said):
        return finding("not-seen", said)
    return finding("exim-bad", said, do)


def _transports(routers: Sequence[Driver], transports: Sequence[Driver]) -> Iterator[Finding]:
    """Find transports in use that tell Cyrus to ignore quotas."""
    users = {router.name: router.text("transport") for router in routers}
    for transport in transports:
        option = quota_ignored_by(transport)
        # A name with a `$` is expanded for each message, and may be any.
        using = [name for name, used in users.items() if used == transport.name or "$" in used]
        if option is not None and using:
            said = f"transport {transport.name}: {option}; used by router {' and '.join(using)}"
            yield finding("transport-ignores-quota", said)


def _router(exim: Exim, found: OverquotaRouter) -> Iterator[Finding]:
    router, name = found.router, f"router {found.router.name}"
    if not router.is_on("verify_only"):
        yield finding("router-delivers", f"{name}: verify_only is not set")
    if router.is_on("verify_sender"):
        yield finding("router-senders", f"{name}: no_verify_sender is not set")
    if not router.is_on("verify_recipient"):
        yield finding("router-recipients", f"{name}: verify_recipient is off")
    if not found.is_skipped_without_map(exim):
        yield finding("router-closed", f"{name}: its condition is true even if there is no map")
    if not found.checks_age:
        yield finding("router-ageless", f"{name}: its condition does not check the age of the map")
    if not found.defers_by_acl and not router.is_on("allow_defer"):
        yield finding("router-defer", f"{name}: allow_defer is not set")
    if any(not router.is_on(option) for option in _FORBIDDEN):
        lacking = ", ".join(option for option in _FORBIDDEN if not router.is_on(option))
        yield finding("router-open", f"{name}: {lacking} not set")
    if not _takes_suffix(router):
        yield finding("router-suffix", f"{name}: local_part_suffix is not +* and optional")


def _takes_suffix(router: Driver) -> bool:
    return "+*" in router.text("local_part_suffix") and router.is_on("local_part_suffix_optional")


def _acls(exim: Exim, found: OverquotaRouter, file: str) -> Iterator[Finding]:
    try:
        text = exim.configuration()
    except EximError:
        # Exim before 4.86 cannot print it.
        return
    asked = _asked_at_rcpt(text, exim.option("acl_smtp_rcpt"))
    if not _VERIFY.search(asked):
        yield finding("acl-verify", f"{file}: verify = recipient is not in the ACL for RCPT")
    if found.defers_by_acl and "$address_data" not in asked:
        yield finding("acl-notes", f"{file}: the ACL for RCPT does not use $address_data")


def _asked_at_rcpt(configuration: str, start: str) -> str:
    """Return the ACL `start` and those it calls, or all ACLs if `start` is not a name."""
    section = configuration.partition("\nbegin acl")[2].partition("\nbegin ")[0]
    # Names and bodies alternate, after what is before the first name.
    parts = _ACL.split(section)[1:]
    acls = dict(zip(parts[::2], parts[1::2]))
    if start not in acls:
        return section
    asked, waiting = dict[str, str](), [start]
    while waiting:
        name = waiting.pop()
        asked[name] = acls[name]
        words = set(re.findall(r"[A-Za-z0-9_-]+", acls[name]))
        waiting += sorted(words & acls.keys() - asked.keys())
    return "\n".join(asked.values())


def check_answers(
    exim: Exim,
    router: OverquotaRouter,
    path: str,
    table: Optional[InstalledMap],
    quotas: Optional[Quotas],
    domain: Optional[str],
) -> list[Finding]:
    """Check the router against its map; ask Exim about a user over quota and users with room."""
    try:
        return list(_verified(exim, router, path, table, quotas, domain))
    except EximError as error:
        return [_unanswered(error)]


def _verified(
    exim: Exim,
    router: OverquotaRouter,
    path: str,
    table: Optional[InstalledMap],
    quotas: Optional[Quotas],
    domain: Optional[str],
) -> Iterator[Finding]:
    domain = exim.local_domain() if domain is None else domain
    good = [_address(to, domain) for to in quotas.good] if quotas is not None else []
    yield from _position(exim, router, good)
    if router.map != path:
        yield finding("router-map", f"router {router.router.name} uses {router.map}, not {path}")
        return
    if table is not None:
        yield from _matched(router, table)
        if quotas is not None and table.age() < (router.max_age or float("inf")):
            listed = (one.recipient for one in quotas.verdicts if _has(table, one.recipient))
            yield from _full(exim, router, table, next(listed, None), domain)
    yield from _good(exim, good)


def _address(to: Recipient, domain: Optional[str]) -> str:
    return str(to) if to.domain is not None or domain is None else f"{to.local}@{domain}"


def _has(table: InstalledMap, to: Recipient) -> bool:
    value = table.value(str(to))
    return value is not None and not value.startswith(b"free=")


def _position(exim: Exim, router: OverquotaRouter, good: Sequence[str]) -> Iterator[Finding]:
    """Check that the router comes before the one that delivers to `good` users."""
    names = [one.name for one in exim.routers()]
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


def _matched(router: OverquotaRouter, table: InstalledMap) -> Iterator[Finding]:
    """Check that the router understands the map."""
    name, kind = f"router {router.router.name}", router.lookup
    if table.format == "postfix" or kind not in (None, table.format):
        looks = "leaves the lookup to an ACL" if kind is None else f"expects {kind}"
        yield finding("router-format", f"{table.path}: is {table.format}; {name} {looks}")
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
    answer = exim.verify(full)
    if answer.status is not VerifyStatus.ACCEPTED:
        is_ours = router.defers_by_acl or _text(table.value(str(to)) or b"") in answer.text
        yield finding("full-deferred" if is_ours else "full-otherwise", answer.text)
    elif router.defers_by_acl:
        yield finding("full-deferred", f"{full}: the router set $address_data, and the ACL defers")
    else:
        yield finding("full-accepted", f"{full} is in the map, and Exim says: {answer.text}")


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
        yield finding("good-deferred" if deferred else "good-refused", answers[0].text)
