"""Why the map and Cyrus do not agree about a user, and what to do.

Each reason is tested: the options of the export, its next map, its guard, its jobs. The map is
renewed from time to time, so a short difference is normal.
"""

from __future__ import annotations

import shlex
from typing import Callable, Iterator, Optional

from cyrusquota.display.sizes import duration
from cyrusquota.errors import CyrusQuotaError, NoSuchMap
from cyrusquota.explain.answers import Reply
from cyrusquota.explain.case import Case, Difference, Reason
from cyrusquota.maps import KeyForm
from cyrusquota.maps.installed import InstalledMap
from cyrusquota.publish.preview import Preview
from cyrusquota.verdicts.policies import Reserve

#: Seconds within which cron has renewed the map, even if it missed one run.
RECENT = 600


def differences(case: Case) -> Iterator[Difference]:
    """Yield where the map is not what Cyrus answers."""
    table, refuses = case.table, case.server.reply.refuses_as_full
    if table.installed_map is None:
        if refuses and not table.is_hidden:
            what = f"{case.server.daemon} refuses, and there is no map that can be read"
            yield Difference(what, _no_map(case))
        return
    for what, reason in _checks(case, refuses):
        try:
            yield Difference(what, reason(case, table.installed_map))
        except CyrusQuotaError as error:
            said, _, do = str(error).partition("; ")
            yield Difference(what, Reason(f"an export fails: {said}", do or "run it by hand"))


def _checks(
    case: Case, refuses: bool
) -> Iterator[tuple[str, Callable[[Case, InstalledMap], Reason]]]:
    """Yield what differs, and the function that finds out why."""
    daemon, reply, table = case.server.daemon, case.server.reply, case.table
    if not table.is_believed and (refuses or table.refuses):
        yield "the map is too old for the router", _stale
    elif refuses and not table.refuses:
        yield f"{daemon} refuses, and the map has no entry", _missing
    elif table.refuses and reply is Reply.ACCEPTED and not case.user.has_too_many_messages:
        yield f"{daemon} accepts, and the map has an entry", _listed
    elif table.refuses and not refuses and reply is not Reply.ACCEPTED:
        yield f"the map has an entry, and {daemon} answers {reply.value!r}", _outdated


def _no_map(case: Case) -> Reason:
    why, _, do = str(case.table.problem).partition("; ")
    if not isinstance(case.table.problem, NoSuchMap):
        # An export does not overwrite what it did not write.
        return Reason(why, do)
    idle = case.export.idleness
    return Reason(f"{why}; {idle}" if idle else why, "write it", (case.export.command.line(),))


def _stale(case: Case, table: InstalledMap) -> Reason:
    limit = duration(case.table.max_age or 0)
    old = f"the map was renewed {duration(case.table.age)} ago, and is valid for {limit}"
    held = _held_back(case, case.export.preview(table))
    if held is not None:
        return Reason(f"{old}; {held.why}", held.do, held.commands)
    return _by_hand(case, old)


def _by_hand(case: Case, why: str) -> Reason:
    """Return that no run renews the map, and how to find out why."""
    idle = case.export.idleness
    commands = (case.export.command.line("-v"),)
    if idle:
        return Reason(
            f"{why}; {idle}",
            "run it by hand, and find out why nothing runs it",
            (*commands, "cyrusquota doctor"),
        )
    return Reason(f"{why}; no run has succeeded since", "run it by hand, it says why", commands)


def _held_back(case: Case, next_map: Optional[Preview]) -> Optional[Reason]:
    """Return the reason and the remedy if the guard objects to the next map."""
    if next_map is None or next_map.rejection is None:
        return None
    rejection, command = next_map.rejection, case.export.command
    look = command.line("--dry-run")
    if rejection.ceiling is None:
        do, accept = "if there are no quotas any more, remove it", f"rm {shlex.quote(command.map)}"
    else:
        do, accept = (
            "if it is right, accept it",
            command.line("--accept-change", str(rejection.ceiling)),
        )
    why = f"the next map is held back: {rejection.reason.partition('; ')[0]}"
    return Reason(why, f"look at the change; {do}", (look, accept))


def _missing(case: Case, table: InstalledMap) -> Reason:
    """Return why a user whom Cyrus refuses has no entry, and what to do."""
    user = case.user
    if user.is_shared:
        return Reason(
            "this is a shared folder, and an export lists users only",
            "make room in the folder, or raise its limit",
        )
    exempted = None if user.recipient is None else case.export.exempted(user.recipient)
    if exempted is not None:
        return Reason(
            exempted, "make room, or raise the limit: the mail waits in Exim's queue until then"
        )
    if user.listed is None and case.query.headers == "trust-rows":
        return Reason(
            "with --headers trust-rows an export goes by the quota database, and lmtpd goes by the"
            " header of the INBOX",
            "correct the header",
            (f"quota -f {shlex.quote(user.name)}",),
        )
    other = _other_export(case, table)
    if other is not None:
        return other
    next_map = case.export.preview(table)
    if next_map is not None and not _has(case, next_map):
        return _left_out(case)
    return _late(case, next_map, "became full", "without this user", "lists them")


def _left_out(case: Case) -> Reason:
    """Return why an export leaves out a user whom Cyrus refuses."""
    if not case.query.naming.downcase:
        return Reason(
            "another user's name differs in capitals only, and that user has room; Exim's lookups"
            " ignore case, so neither is listed",
            "rename one of the two",
        )
    if case.export.key is KeyForm.LOCAL:
        return Reason(
            "another user has the same local part and another value, so neither is listed",
            "write the map with whole addresses, and use the router in exim/address",
            (case.export.command.line("--key", "address"),),
        )
    return Reason(
        "an export leaves this user out, and it is not known why",
        "see what it says",
        (case.export.command.line("--dry-run"),),
    )


def _listed(case: Case, table: InstalledMap) -> Reason:
    """Return why a user with room has an entry, and what to do."""
    other = _other_export(case, table)
    if other is not None:
        return other
    next_map = case.export.preview(table)
    if next_map is not None and _has(case, next_map):
        return Reason(
            "the export also lists users who are nearly full (--reserve), and this user is",
            "nothing: mail is accepted again when there is more room",
        )
    if table.header.near and case.export.reserve == Reserve():
        are = "is" if table.header.near == 1 else "are"
        return Reason(
            f"the map was written with --reserve, and {table.header.near} of its users {are} only"
            " nearly full",
            "give explain the --reserve of the export, to see whether this is one of them",
        )
    return _late(case, next_map, "has made room", "with this user", "leaves them out")


def _outdated(case: Case, table: InstalledMap) -> Reason:
    """Return why a user whom Cyrus answers otherwise has an entry, and what to do."""
    other = _other_export(case, table)
    if other is not None:
        return other
    next_map = case.export.preview(table)
    if next_map is not None and _has(case, next_map):
        return Reason(
            "an export lists them all the same, by the quota database",
            f"see to the answer of {case.server.daemon} first",
        )
    return _late(case, next_map, "was full then", "with this user", "leaves them out")


def _has(case: Case, next_map: Preview) -> bool:
    return any(map(next_map.has, case.table.looked_for))


def _other_export(case: Case, table: InstalledMap) -> Optional[Reason]:
    """Return that the map was made from other data or by another rule, if so."""
    header, again = table.header, (case.export.command.line("--dry-run"),)
    if header.source not in (None, case.export.source):
        return Reason(
            f"the map was made from {header.source}, and this is {case.export.source}",
            "name the other one with -C or --db, or see what an export from this one changes",
            again,
        )
    if header.policy not in (None, case.user.policy.name):
        return Reason(
            f"the map was made by the policy {header.policy}, and this is {case.user.policy.name}",
            "give explain and the export the same --policy; see what an export changes",
            again,
        )
    return None


def _late(
    case: Case, next_map: Optional[Preview], happened: str, written: str, does: str
) -> Reason:
    """Return that the map is behind, and whether that is normal."""
    held = _held_back(case, next_map)
    if held is not None:
        return held
    age, idle = f"the map was renewed {duration(case.table.age)} ago", case.export.idleness
    if case.table.age > RECENT:
        return _by_hand(case, f"{age}, and the user {happened} since")
    if next_map is None:
        return Reason(
            f"{age}, {written}; its source can be read only once", "wait for the next run"
        )
    why = f"{age}, {written}, and a run now {does}"
    if not idle:
        why = f"the user {happened} after the map was renewed, {duration(case.table.age)} ago"
    elif happened == "became full":
        why += f"; {idle}, so whether they are exempt there is not known"
    return Reason(why, "wait for the next run, or run it now", (case.export.command.line(),))
