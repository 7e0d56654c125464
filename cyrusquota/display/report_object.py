"""A report as an object for JSON: sizes in bytes, roots by name and, if a user's, by address."""

from __future__ import annotations

from typing import Optional

from cyrusquota.cyrus.names import Naming
from cyrusquota.display.report_model import ReportModel, address
from cyrusquota.quota import Resource, Usage
from cyrusquota.verdicts.evaluator import Verdict
from cyrusquota.verdicts.summary import STEP, DomainUsage, Fullest


def as_object(model: ReportModel) -> dict[str, object]:
    """Return the report; its lists are as long as those of the text."""
    summary = model.summary
    refused = sorted(model.refused, key=lambda one: str(one.recipient))
    return {
        "source": model.source,
        "policy": model.policy,
        "time": int(model.when.timestamp()),
        "roots": {
            "all": summary.roots,
            "unlimited": summary.unlimited,
            "over": summary.over_roots,
            "near": summary.near_roots,
        },
        "near_percent": summary.near,
        "storage": _totals(summary.total()),
        "inboxes": model.inboxes,
        "refused": len(model.refused),
        "reserved": model.reserved,
        "problems": model.problems,
        "resources": {
            kind.value: {"limited": limited, "near": near, "over": over}
            for kind, limited, near, over in model.resources()
        },
        "histogram": [
            {"from_percent": at * STEP, "roots": count}
            for at, count in enumerate(summary.histogram)
        ],
        "domains": [
            {"domain": name, **_totals(totals)}
            for name, totals in sorted(summary.domains.items(), key=_largest_first)[: model.rows]
        ],
        "fullest": [_fullest(one, model.naming) for one in model.fullest()],
        "users_refused": [_refused(one) for one in refused[: model.rows]],
    }


def _largest_first(item: tuple[Optional[str], DomainUsage]) -> tuple[int, str]:
    return -item[1].used, item[0] or ""


def _totals(totals: DomainUsage) -> dict[str, object]:
    return {
        "roots": totals.roots,
        "users": totals.users,
        "over": totals.over,
        "unlimited": totals.unlimited,
        "used": totals.used,
        "used_unlimited": totals.used_unlimited,
        "limits": totals.limits,
    }


def _fullest(one: Fullest, naming: Naming) -> dict[str, object]:
    return {
        "root": one.root.name,
        "address": address(one.root.name, naming),
        **_usage(one.resource, one.usage),
    }


def _refused(verdict: Verdict) -> dict[str, object]:
    usages = dict(verdict.root.usages())
    return {
        "address": str(verdict.recipient),
        "root": verdict.root.name,
        "over": [_usage(kind, usages[kind]) for kind in verdict.over],
        "certain": not verdict.is_approximate,
    }


def _usage(kind: Resource, usage: Usage) -> dict[str, object]:
    return {"resource": kind.value, "used": usage.used, "limit": usage.limit}
