"""Why Exim does not do what the map and Cyrus say, and what to do.

Each reason is tested: by what Exim says that its routers do with the address, by its options, and
by its main log.
"""

from __future__ import annotations

import os
import shlex
from typing import Iterator, Optional

from cyrusquota.doctor.map_file import closed_to
from cyrusquota.errors import EximError
from cyrusquota.explain.answers import EximAnswer, MapAnswer, Reply
from cyrusquota.explain.case import Case, Difference, Reason
from cyrusquota.mta import daemon
from cyrusquota.mta.exim import Exim, VerifyStatus
from cyrusquota.mta.recipients import acls_at_rcpt, domains_outside, verifies_recipients
from cyrusquota.mta.router import OverquotaRouter
from cyrusquota.mta.routing import Destination, Step

_LET_POST = "setacl FOLDER anyone p in cyradm, or reject the address in Exim"


def of_router(case: Case) -> Optional[Difference]:
    """Return that Exim uses no map, or another one than was looked at, if so."""
    exim, table = case.exim, case.table
    if exim is None or exim.status is None:
        return None
    if exim.router is None:
        # Who is refused otherwise is not helped by a router.
        if not case.server.reply.refuses_as_full or exim.status is not VerifyStatus.ACCEPTED:
            return None
        return Difference(
            f"{case.server.daemon} refuses, and Exim uses no map",
            Reason(
                "no router of Exim looks recipients up in a map",
                "put this router before the one that delivers to Cyrus (exim/README.md)",
                (f"cyrusquota router --map {shlex.quote(table.path)}",),
            ),
        )
    if _is_same_file(exim.router.map, table.path):
        return None
    return Difference(
        "the router uses another map",
        Reason(
            f"the router {exim.router.router.name} uses {exim.router.map}, not {table.path}",
            f"let the export write that one, set CYRUSQUOTA_MAP to {table.path}, or ask about the"
            f" other one: --map {shlex.quote(exim.router.map)}",
        ),
    )


def differences(case: Case) -> Iterator[Difference]:
    """Yield where Exim's answer is not what the map and Cyrus say."""
    exim = case.exim
    if exim is None or exim.status is None:
        return
    if case.goes_elsewhere is not None:
        yield _elsewhere(case, exim, case.goes_elsewhere)
    elif exim.router is None or _is_same_file(exim.router.map, case.table.path):
        yield from _answer(case, exim)
        yield from _unverified(case, exim)
        yield from _ignored_quota(case)


def _is_same_file(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _answer(case: Case, exim: EximAnswer) -> Iterator[Difference]:
    table, server, status = case.table, case.server, exim.status
    believed = table.refuses and table.is_believed
    notes = exim.router is not None and exim.router.defers_by_acl
    if believed and status is VerifyStatus.ACCEPTED and not notes and exim.router is not None:
        what = "the map has an entry, and Exim accepts"
        yield Difference(what, _ignored(case, exim, exim.router))
    elif status is VerifyStatus.DEFERRED and not case.is_by_map:
        yield Difference("Exim defers, and not because of the map", _deferred(case, exim))
    elif status is VerifyStatus.REFUSED and not case.is_by_map:
        if server.reply is Reply.ACCEPTED or server.reply.refuses_as_full:
            what = "Exim rejects the address, and the mail server knows the user"
            yield Difference(what, _rejected(case, exim))
    elif status is VerifyStatus.ACCEPTED and server.reply is Reply.FORBIDDEN:
        what = "Exim accepts mail for a folder that nobody may post to"
        yield Difference(what, Reason(server.why, f"let everybody post: {_LET_POST}"))
    elif status is VerifyStatus.ACCEPTED and server.reply is Reply.UNKNOWN:
        what = "Exim accepts mail for a user whom Cyrus does not know"
        yield Difference(what, _unchecked(case, exim))


def _ignored(case: Case, exim: EximAnswer, router: OverquotaRouter) -> Reason:
    """Return why Exim accepts a recipient who has an entry, and what to do."""
    if exim.step is not None:
        return _by_step(case, router, exim.step)
    if exim.steps:
        name, takes = router.router.name, exim.steps[-1].router
        return Reason(
            f"the router {name} is not reached: the router {takes} takes the address before",
            f"move the router {name} before the router {takes} (exim/README.md)",
        )
    return _by_options(case, exim, router)


def _by_step(case: Case, router: OverquotaRouter, step: Step) -> Reason:
    """Return why the router does not use the entry, by what Exim says that it does."""
    table, name = case.table, f"the router {router.router.name}"
    kind, keys = step.kind(router.map), step.keys(router.map)
    closed = None if keys else _closed(case, table.path)
    if closed is not None:
        return closed
    if kind not in (None, _format(table)):
        return _other_format(case, name, str(kind))
    if kind is not None and not keys:
        return Reason(
            f"{name} cannot open the map: {step.unopened or 'Exim does not say why'}",
            "read Exim's paniclog",
        )
    if keys and table.key not in keys:
        return _other_keys(case, name, keys)
    if case.exim is not None and step.outcome.startswith("defer "):
        # The trace goes on to each address behind a list, which verification does not.
        return Reason(
            f"{case.exim.address} leads to several destinations, and Exim verifies none of these",
            "let it lead to this user alone; otherwise the mail waits in Exim's queue",
        )
    if keys:
        return Reason(
            f"{name} finds the entry, and does not act on it: {step.outcome}",
            "use the router that goes with the options of the export (exim/README.md)",
        )
    return Reason(
        f"{name} does not look into the map: {step.outcome}",
        "see its options",
        (case.ask_exim("-bP", "router", router.router.name),),
    )


def _format(table: MapAnswer) -> Optional[str]:
    return None if table.installed_map is None else table.installed_map.format


def _closed(case: Case, path: str) -> Optional[Reason]:
    """Return why the Exim user cannot read the map, or None if it can, or that is not known."""
    try:
        user = "" if case.mta is None else case.mta.option("exim_user")
        found = closed_to(user, path)
    except (EximError, KeyError):
        return None
    if found is None:
        return None
    return Reason(found.said, "let Exim read the map", (found.command,))


def _other_format(case: Case, name: str, kind: str) -> Reason:
    return Reason(
        f"the map is {_format(case.table)}, and {name} expects {kind}",
        "write the map in that format, or use the router for the other one",
        (case.export.command.line("--map-format", kind),),
    )


def _other_keys(case: Case, name: str, keys: tuple[str, ...]) -> Reason:
    key = str(case.table.key)
    why = f"{name} looks up {' and '.join(keys)}, and the entry is for {key}"
    if "@" in key:
        return Reason(why, "use the router in exim/address, or a CYRUSQUOTA_KEY with the domain")
    return Reason(
        why,
        "use exim/router.conf, whose key is the local part, or write the map with addresses",
        (case.export.command.line("--key", "address"),),
    )


def _by_options(case: Case, exim: EximAnswer, router: OverquotaRouter) -> Reason:
    """Return why the router does not use the entry, where Exim does not say what it does."""
    name, table = f"the router {router.router.name}", case.table
    closed = _closed(case, table.path)
    if closed is not None:
        return closed
    if router.lookup not in (None, _format(table)):
        return _other_format(case, name, str(router.lookup))
    if router.looks_up_local_parts and "@" in (table.key or ""):
        return Reason(
            f"{name} looks up local parts only, and the entry is for {table.key}",
            "use the router in exim/address, or a CYRUSQUOTA_KEY with the domain",
        )
    return _not_shown(case, exim)


def _not_shown(case: Case, exim: EximAnswer) -> Reason:
    if exim.shows_steps:
        # As for an address with a syntax error.
        return Reason("Exim tries no router for this address", *_trace(case, exim))
    return Reason(
        "it is not known why, because Exim shows only its administrators what its routers do",
        "run this as root",
    )


def _deferred(case: Case, exim: EximAnswer) -> Reason:
    """Return which router defers."""
    if not exim.steps:
        return _not_shown(case, exim)
    last, router = exim.steps[-1], exim.router
    if router is None or not exim.is_by_router:
        return Reason(f"the router {last.router} defers", *_trace(case, exim))
    found = next((one for one in last.lookups if one.file == router.map and one.value), None)
    if found is not None:
        why = f"the router {last.router} finds an entry for {found.key}: {found.value}"
        return Reason(why, *_trace(case, exim))
    return Reason(
        f"the router {last.router} defers everybody while it cannot use the map",
        "use the condition of exim/router.conf, which accepts mail then",
    )


def _trace(case: Case, exim: EximAnswer) -> tuple[str, tuple[str, ...]]:
    return "see how Exim routes the address", (case.ask_exim("-d-all+route", "-bv", exim.address),)


def _rejected(case: Case, exim: EximAnswer) -> Reason:
    """Return why Exim rejects an address that Cyrus knows."""
    domain = exim.address.rpartition("@")[2] if "@" in exim.address else ""
    if _is_outside(case, domain):
        return Reason(
            f"{domain} is not in Exim's local_domains",
            "add it there, if mail for it is delivered here, or ask about the address that senders"
            " use",
        )
    if not exim.steps:
        return _not_shown(case, exim)
    last = exim.steps[-1]
    why = f"no router takes the address; the last one, {last.router}, says {last.outcome}"
    if last.outcome.startswith("forced"):
        why = f"the router {last.router} rejects it"
    return Reason(why, *_trace(case, exim))


def _is_outside(case: Case, domain: str) -> bool:
    """Return whether a domain is known not to be in +local_domains."""
    if case.mta is None:
        return False
    try:
        return domains_outside(case.mta, [domain], "+local_domains") == [domain]
    except EximError:
        # There is no such list.
        return False


def _unchecked(case: Case, exim: EximAnswer) -> Reason:
    """Return by which router Exim accepts an unknown user."""
    found = exim.delivery.to_cyrus if exim.delivery is not None else ()
    if not found:
        where = ("see where it goes", (case.ask_exim("-bt", exim.address),))
        return Reason("its mail does not go to Cyrus", *where)
    return Reason(
        f"the router {found[0].router} does not check whether the user exists, so the message"
        " bounces after Exim has accepted it",
        "let that router check it: see docs/choosing.md",
    )


def _elsewhere(case: Case, exim: EximAnswer, goes: Destination) -> Difference:
    named = (("router", goes.router), ("transport", goes.transport))
    way = ", ".join(f"{kind} {name}" for kind, name in named if name is not None)
    why = f"it goes to {goes.target or 'nowhere'}" + (f" ({way})" if way else "")
    domain = (goes.target or "").rpartition("@")[2]
    commands: tuple[str, ...]
    do, commands = "see where it goes", (case.ask_exim("-bt", exim.address),)
    if not goes.parents and _is_outside(case, domain):
        why += f"; {domain} is not in Exim's local_domains"
        do, commands = "add it there, if mail for it is delivered here", ()
    return Difference(
        f"Exim does not deliver mail for {exim.address} to this INBOX", Reason(why, do, commands)
    )


def _unverified(case: Case, exim: EximAnswer) -> Iterator[Difference]:
    """Find that no ACL asks the routers at RCPT, as `exim -bv` does."""
    if not case.is_by_map or case.mta is None:
        return
    try:
        is_asked = verifies_recipients(acls_at_rcpt(case.mta))
    except EximError:
        # Exim before 4.86 cannot print its ACLs.
        return
    if not is_asked:
        yield Difference(
            "the router defers, and no ACL asks it",
            Reason(
                "verify = recipient is not in the ACL for RCPT, so Exim accepts the recipient",
                "add require verify = recipient there",
            ),
        )


def _ignored_quota(case: Case) -> Iterator[Difference]:
    if case.ignores_quota and case.exim is not None:
        yield Difference(
            f"{case.server.daemon} refuses, but Exim tells it to ignore quotas",
            Reason(
                f"{case.exim.quota_ignored_by}: Cyrus then accepts mail for users who are over"
                " STORAGE or MESSAGE",
                "remove the option, or the overquota router, which defers mail that Cyrus accepts",
            ),
        )


def daemon_state(exim: Exim) -> tuple[Optional[Difference], Optional[str]]:
    """Return that the daemon is older than its configuration, or why that is not known."""
    try:
        changed, start = daemon.configuration_changed(exim), daemon.daemon_start(exim)
        if start.time is None:
            return None, start.why
        if changed is None or not start.is_before(changed):
            return None, None
        command = daemon.reload_command(exim)
    except EximError as error:
        return None, str(error)
    times = (f"{one.astimezone():%Y-%m-%d %H:%M:%S}" for one in (start.time, changed))
    why = "it last read its configuration at {}, and that was changed at {}".format(*times)
    reason = Reason(why, "reload Exim", () if command is None else (command,))
    return Difference("Exim's daemon does not use this configuration yet", reason), None
