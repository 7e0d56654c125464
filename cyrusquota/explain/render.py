"""Format an explanation as text or JSON."""

from __future__ import annotations

import time
from typing import Iterator, Optional

import attrs

from cyrusquota.display.sizes import duration, figure, percent
from cyrusquota.errors import printable
from cyrusquota.explain.results import Difference, EximAnswer, MapAnswer, Reply, ServerAnswer
from cyrusquota.explain.user import User
from cyrusquota.quota import QuotaRoot, Resource, Usage


@attrs.frozen
class Explanation:
    """One user, the three answers about them, and where these differ."""

    asked: str
    user: User
    server: ServerAnswer
    table: MapAnswer
    exim: Optional[EximAnswer]
    differences: tuple[Difference, ...]


def as_text(found: Explanation) -> str:
    """Return the explanation as text."""
    parts = [_who(found.user), *_resources(found.user), ""]
    parts += [_server(found.server), *_map(found.table), _exim(found.exim), ""]
    return "\n".join(printable(line) for line in (*parts, *_conclusion(found)))


def _who(user: User) -> str:
    has = "the shared folder" if user.is_shared else "with the INBOX"
    who = f"{user.address}, {has} {user.name}, "
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


#: Width of the column with the names of the three.
_WIDTH = 7


def _server(server: ServerAnswer) -> str:
    return f"{server.daemon:{_WIDTH}}{server.reply.value}: {server.why}"


def _map(table: MapAnswer) -> Iterator[str]:
    start = f"{'map':{_WIDTH}}"
    if table.installed_map is None:
        yield f"{start}{table.problem}"
    elif table.key is None or table.value is None:
        yield f"{start}no entry for {' or '.join(table.looked_for)}"
    else:
        yield f"{start}{table.key}: {table.value.decode('utf-8', 'surrogateescape')}"
    if table.installed_map is not None:
        when = f"{duration(table.age)} ago"
        if table.age <= -1:
            when = f"{duration(-table.age)} in the future: check the clock"
        yield f"{'':{_WIDTH}}{table.path}, renewed {when}{_dates(table)}"


def _dates(table: MapAnswer) -> str:
    written = table.installed_map.header.since if table.installed_map is not None else None
    text = "" if written is None else f", unchanged since {written:%Y-%m-%d %H:%M}"
    if not table.is_believed:
        text += f"; too old, the router uses it for {duration(table.max_age or 0)}"
    return text


def _exim(exim: Optional[EximAnswer]) -> str:
    start = f"{'Exim':{_WIDTH}}"
    if exim is None:
        return f"{start}was not asked"
    if exim.answer is None:
        return f"{start}{exim.problem}"
    text = start + exim.answer.text
    if exim.router is not None and exim.router.defers_by_acl:
        text += (
            f" (router {exim.router.router.name} sets $address_data, and the ACL for RCPT defers)"
        )
    return text


def _conclusion(found: Explanation) -> Iterator[str]:
    for difference in found.differences:
        yield f"They do not agree: {difference.what}."
        yield f"  Why:        {difference.why}."
        yield f"  What to do: {difference.do}"
    if found.differences:
        return
    if found.server.reply.refuses_as_full:
        yield "They agree: mail for this user is refused until there is room."
    elif found.server.reply is Reply.ACCEPTED:
        yield "They agree: mail for this user is accepted."
    else:
        yield "They agree: this is not about quotas."


def as_json(found: Explanation) -> dict[str, object]:
    """Return the explanation as an object for JSON."""
    user = found.user
    root = user.root or user.stored
    return {
        "asked": found.asked,
        "address": str(user.address),
        "inbox": user.name,
        "root": None if root is None else root.name,
        "nearest_root": user.nearest,
        "header_root": user.named,
        "messages": user.messages,
        "max_messages": user.max_messages,
        "resources": {} if root is None else _figures(root, user),
        "server": {
            "daemon": found.server.daemon,
            "policy": user.policy.name,
            "reply": found.server.reply.value,
            "why": found.server.why,
        },
        "map": _map_object(found.table),
        "exim": _exim_object(found.exim),
        "agree": not found.differences,
        "differences": [attrs.asdict(difference) for difference in found.differences],
    }


def _figures(root: QuotaRoot, user: User) -> dict[str, object]:
    stored = dict((user.stored or root).usages())
    return {
        resource.value: {
            "used": stored[resource].used,
            "enforced": usage.used,
            "limit": usage.limit,
            "exact": usage.exact,
            "over": resource in user.over,
        }
        for resource, usage in root.usages()
    }


def _map_object(table: MapAnswer) -> dict[str, object]:
    installed_map = table.installed_map
    value = None if table.value is None else table.value.decode("utf-8", "replace")
    found: dict[str, object] = {"path": table.path, "looked_for": table.looked_for}
    found.update(key=table.key, value=value, believed=table.is_believed, max_age=table.max_age)
    if installed_map is None:
        return {**found, "problem": str(table.problem)}
    written = installed_map.header.since
    return {
        **found,
        "format": installed_map.format,
        "renewed": int(installed_map.renewed),
        "written": None if written is None else int(written.timestamp()),
        "age": round(time.time() - installed_map.renewed),
    }


def _exim_object(exim: Optional[EximAnswer]) -> Optional[dict[str, object]]:
    if exim is None:
        return None
    return {
        "address": exim.address,
        "outcome": None if exim.status is None else exim.status.name.lower(),
        "text": None if exim.answer is None else exim.answer.text,
        "router": None if exim.router is None else exim.router.router.name,
        "problem": None if exim.problem is None else str(exim.problem),
    }
