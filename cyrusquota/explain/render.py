"""Format an explanation as text: the verdict, the figures, the three answers, the reasons."""

from __future__ import annotations

import textwrap
from typing import Callable, Iterator, Optional

from cyrusquota.display.sizes import duration, figure, percent
from cyrusquota.errors import printable
from cyrusquota.explain.answers import EximAnswer, MapAnswer, ServerAnswer
from cyrusquota.explain.case import Case, Difference
from cyrusquota.explain.inquiry import Explanation
from cyrusquota.explain.user import User
from cyrusquota.explain.verdict import Member
from cyrusquota.quota import QuotaRoot, Resource, Usage

#: Width of the column with the names of the three.
_WIDTH = 7
#: How many destinations of a list, and how many folders, are shown.
_SHOWN = 20
#: In front of a command.
_COMMAND = " " * 10


def as_text(
    found: Explanation, width: Optional[int] = None, command: Callable[[str], str] = str
) -> tuple[str, str]:
    """Return the verdict, and the rest as text, wrapped at `width` columns if that is given.

    A command has a line to itself, to be copied; `command` may colour it.
    """
    lines = [line for part in _parts(found) for line in ("", *part)]
    wrapped = (piece for line in lines for piece in _wrapped(printable(line), width, command))
    text = printable(found.verdict.text)
    verdict = [text]
    if width is not None:
        verdict = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(verdict), "\n".join(wrapped)


def _wrapped(line: str, width: Optional[int], command: Callable[[str], str]) -> list[str]:
    if line.startswith(_COMMAND):
        return [_COMMAND + command(line[len(_COMMAND) :])]
    if width is None or len(line) <= width:
        return [line]
    indent = len(line) - len(line.lstrip())
    label = line.lstrip().partition("  ")[0]
    # What follows a label is aligned below the text behind it.
    after = line[indent + len(label) :]
    hanging = indent + len(label) + len(after) - len(after.lstrip()) if after else indent or 2
    return textwrap.wrap(
        line,
        max(width, hanging + 20),
        subsequent_indent=" " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def _parts(found: Explanation) -> Iterator[list[str]]:
    """Yield the paragraphs behind the verdict."""
    if found.case is not None:
        yield [*_quotas(found.case.user)]
        yield [*_answers(found.case)]
    else:
        yield [*_members(found.members)]
        yield [next(_exim(found.exim))]
    for difference in found.differences:
        yield [*_difference(difference)]
    unknown = [*found.unanswered, *found.not_known]
    if found.exim is None or found.exim.problem is not None:
        # The verdict, or the line about Exim, says so.
        unknown = unknown[1:]
    more = [*found.notes, *(f"Not known: {said}." for said in unknown)]
    if more:
        yield more


def _quotas(user: User) -> Iterator[str]:
    yield _who(user)
    yield from _resources(user)
    yield from _folders(user)


def _who(user: User) -> str:
    who = f"The INBOX {user.name} "
    if user.is_shared:
        who = f"The shared folder {user.name} "
    root = user.root or user.stored
    if root is None:
        return who + "has no quota root" + _rootless(user)
    text = who + f"is governed by the quota root {root.name}"
    if user.named is not None and user.nearest not in (None, user.named):
        text += f" (named by the header of the INBOX; the nearest one is {user.nearest})"
    if user.header_problem is not None:
        text += f" (the nearest one; the header of the INBOX cannot be read: {user.header_problem})"
    return text


def _rootless(user: User) -> str:
    """Return why no root counts although the quota database has, or had, one."""
    if user.problem is not None:
        return " that can be read"
    if user.named is None and user.nearest is None:
        return ""
    named = "none" if user.named is None else f"{user.named}, which is not in the quota database"
    text = f": the header of the INBOX names {named}"
    return (
        text
        if user.nearest is None
        else f"{text} (the nearest one in the quota database is {user.nearest})"
    )


def _resources(user: User) -> Iterator[str]:
    root = user.root or user.stored
    if user.messages is not None:
        limit = f"{user.messages} of {user.max_messages} (mailbox_maxmessages_email)"
        yield f"  {'messages in INBOX':18}  {limit}"
    if root is None or user.stored is None:
        return
    stored = dict(user.stored.usages())
    for resource, usage in root.usages():
        if usage.limit is not None or usage.used:
            yield _resource(resource, usage, stored[resource], resource in user.over)


def _resource(resource: Resource, usage: Usage, stored: Usage, is_over: bool) -> str:
    used, start = figure(resource, usage.used), f"  {resource.value:18}  "
    if usage.limit is None:
        return f"{start}{used}, no limit{_other_figure(resource, usage, stored)}"
    text = f"{start}{used} of {figure(resource, usage.limit)}, {percent(usage)}"
    if resource.unit > 1:
        text += f" ({usage.used} of {usage.limit} bytes)"
    if is_over:
        beyond = usage.used - usage.limit
        text += f", over by {figure(resource, beyond)}" if beyond > 0 else ", no room for one more"
    return text + _other_figure(resource, usage, stored)


def _other_figure(resource: Resource, usage: Usage, stored: Usage) -> str:
    if usage.used == stored.used:
        return "" if usage.exact else ", or up to 1023 bytes more"
    return f"; this is the conversations total, the quota database has {stored.used}"


def _folders(user: User) -> Iterator[str]:
    """Yield the folders with a quota root of their own, which do not count for mail."""
    own = {root.name: root for root in user.folder_roots}
    if user.folder is not None:
        above = [name for name in own if f"{user.folder}.".startswith(f"{name}.")]
        root = own[max(above, key=len)] if above else None
        yield f"The folder {user.folder} {_folder(user, root)}"
    if not own:
        return
    yield "Folders with a quota root of their own, which do not count for the INBOX:"
    for root in user.folder_roots[:_SHOWN]:
        yield f"  {root.name}  {_figures(root)}"
    if len(own) > _SHOWN:
        yield f"  and {len(own) - _SHOWN} more"


def _folder(user: User, root: Optional[QuotaRoot]) -> str:
    """Return by which root a folder goes, and where its mail goes if that is full."""
    if root is None:
        return "has no quota root of its own"
    text = f"has a quota root of its own, {root.name}, but lmtpd judges mail for it by the INBOX"
    return f"{text}; it is full, so that mail goes to the INBOX" if user.policy.over(root) else text


def _figures(root: QuotaRoot) -> str:
    parts = [
        f"{resource.value} {figure(resource, usage.used)} of {figure(resource, usage.limit)}"
        for resource, usage in root.usages()
        if usage.limit is not None
    ]
    return ", ".join(parts) or "no limit"


def _answers(case: Case) -> Iterator[str]:
    server: ServerAnswer = case.server
    yield f"{server.daemon:{_WIDTH}}{server.reply.value}: {server.why}"
    yield from _map(case.table)
    yield from _exim(case.exim)


def _map(table: MapAnswer) -> Iterator[str]:
    start = f"{'map':{_WIDTH}}"
    if table.installed_map is None:
        said = str(table.problem)
        # What to do about it is said further down, with the whole command.
        yield start + (said if table.is_hidden else said.partition("; ")[0])
        return
    if table.key is None or table.value is None:
        yield f"{start}no entry for {' or '.join(table.looked_for)}"
    else:
        yield f"{start}{table.key}: {table.value.decode('utf-8', 'surrogateescape')}"
    when = f"{duration(table.age)} ago"
    if table.age <= -1:
        when = f"{duration(-table.age)} in the future: check the clock"
    written = table.installed_map.header.since
    since = "" if written is None else f", unchanged since {written:%Y-%m-%d %H:%M}"
    text = f"{'':{_WIDTH}}{table.path}, renewed {when}{since}"
    if not table.is_believed:
        text += f"; too old, the router uses it for {duration(table.max_age or 0)}"
    yield text


def _exim(exim: Optional[EximAnswer]) -> Iterator[str]:
    start = f"{'Exim':{_WIDTH}}"
    if exim is None:
        yield f"{start}was not asked"
    elif exim.answer is None:
        yield f"{start}{exim.problem}"
    else:
        yield start + exim.answer.text
        router = exim.router
        if router is None:
            yield f"{'':{_WIDTH}}no router uses a map"
            return
        keys = () if exim.step is None else exim.step.keys(router.map)
        looks = f"looked up {' and '.join(keys)} in {router.map}" if keys else f"uses {router.map}"
        text = f"{'':{_WIDTH}}router {router.router.name} {looks}"
        if router.defers_by_acl:
            text += "; it sets $address_data, and the ACL for RCPT defers"
        yield text


def _difference(difference: Difference) -> Iterator[str]:
    yield f"They do not agree: {difference.what}."
    reason = difference.reason
    yield f"  Why:  {reason.why}."
    yield f"  Do:   {reason.do}{':' if reason.commands else ''}"
    yield from (f"{_COMMAND}{command}" for command in reason.commands)


def _members(members: tuple[Member, ...]) -> Iterator[str]:
    """Yield the destinations, those over quota first."""
    ordered = sorted(members, key=lambda one: not one.is_over)[:_SHOWN]
    width = max(len(one.destination.target or "") for one in ordered)
    for one in ordered:
        yield f"  {one.destination.target or '':{width}}  {_member(one)}"
    if len(members) > _SHOWN:
        yield f"  and {len(members) - _SHOWN} more"


def _member(one: Member) -> str:
    goes = one.destination
    if goes.target is None:
        return "discarded"
    if goes.problem is not None:
        return f"Exim does not deliver: {goes.problem}"
    if one.user is None or one.server is None:
        return f"transport {goes.transport}"
    root = one.user.root
    figures = "no quota root" if root is None else _figures(root)
    return f"{one.server.reply.value}: {figures}"
