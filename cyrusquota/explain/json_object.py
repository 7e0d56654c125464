"""Give an explanation the form of an object for JSON."""

from __future__ import annotations

import time
from typing import Optional

import attrs

from cyrusquota.explain.answers import EximAnswer, MapAnswer, ServerAnswer
from cyrusquota.explain.inquiry import Explanation
from cyrusquota.explain.user import User
from cyrusquota.explain.verdict import Member
from cyrusquota.mta.routing import Destination
from cyrusquota.quota import QuotaRoot


def as_json(found: Explanation) -> dict[str, object]:
    """Return the explanation as an object for JSON."""
    case = found.case
    user = None if case is None else case.user
    root = None if user is None else user.root or user.stored
    verdict = found.verdict
    return {
        "asked": found.asked,
        "verdict": {
            "outcome": verdict.outcome.value,
            "level": verdict.level.value,
            "text": verdict.text,
        },
        "address": None if user is None else str(user.address),
        "inbox": None if user is None else user.name,
        "root": None if root is None else root.name,
        "nearest_root": None if user is None else user.nearest,
        "header_root": None if user is None else user.named,
        "messages": None if user is None else user.messages,
        "max_messages": None if user is None else user.max_messages,
        "resources": {} if user is None or root is None else _figures(root, user),
        "folder": None if user is None else user.folder,
        "folders": _folders(user),
        "server": None if case is None else _server_object(case.user, case.server),
        "map": None if case is None else _map_object(case.table),
        "exim": _exim_object(found.exim),
        "route": _route(found.exim, found.members),
        "agree": found.agree,
        "differences": [
            {"what": one.what, **attrs.asdict(one.reason)} for one in found.differences
        ],
        "not_known": [*found.unanswered, *found.not_known],
        "notes": list(found.notes),
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


def _folders(user: Optional[User]) -> dict[str, object]:
    """Return the quota roots below the INBOX, by name."""
    return {
        root.name: {
            resource.value: {"used": usage.used, "limit": usage.limit}
            for resource, usage in root.usages()
        }
        for root in (() if user is None else user.folder_roots)
    }


def _server_object(user: User, server: ServerAnswer) -> dict[str, object]:
    return {
        "daemon": server.daemon,
        "policy": user.policy.name,
        "reply": server.reply.value,
        "why": server.why,
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
    router, step = exim.router, exim.step
    return {
        "address": exim.address,
        "outcome": None if exim.status is None else exim.status.name.lower(),
        "text": None if exim.answer is None else exim.answer.text,
        "router": None if router is None else router.router.name,
        "map": None if router is None else router.map,
        "keys": None if router is None or step is None else step.keys(router.map),
        "problem": None if exim.problem is None else str(exim.problem),
    }


def _route(
    exim: Optional[EximAnswer], members: tuple[Member, ...]
) -> Optional[list[dict[str, object]]]:
    """Return where Exim delivers, or None if that is not known."""
    delivery = None if exim is None else exim.delivery
    if delivery is None:
        return None
    answers = {one.destination: one for one in members}
    return [
        _destination(one, one in delivery.to_cyrus, answers.get(one))
        for one in delivery.destinations
    ]


def _destination(one: Destination, to_cyrus: bool, member: Optional[Member]) -> dict[str, object]:
    server = None if member is None else member.server
    return {
        "target": one.target,
        "aliases": one.parents,
        "router": one.router,
        "transport": one.transport,
        "to_cyrus": to_cyrus,
        "problem": one.problem,
        "reply": None if server is None else server.reply.value,
    }
