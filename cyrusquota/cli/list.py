"""cyrusquota list: every quota root of a source, for people and other programs."""

from __future__ import annotations

import json

import click

from cyrusquota.cli._source import Chosen, source_options
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.overquota import enforced
from cyrusquota.privileges import reading_as
from cyrusquota.quota import QuotaRoot, Resource, Usage


@click.command("list")
@source_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl"]),
    default="jsonl",
    show_default=True,
    help="jsonl: one JSON object a line for each root, sizes in bytes, limit null if unlimited.",
)
def list_roots(chosen: Chosen, form: str) -> None:
    """Print every quota root, in the order of the source.

    `over` names the resources it is full of, `near` those of which less than --reserve is left.
    Where conversations totals count instead of a figure, `enforced` is the total.
    """
    with reading_as(chosen.user):
        for root in chosen.source.roots(chosen.problems):
            click.echo(json.dumps(_object(root, chosen)))


def _object(root: QuotaRoot, chosen: Chosen) -> dict[str, object]:
    counts = _counting(root, chosen)
    resources = {
        resource.value: _figures(usage, dict(counts.usages())[resource])
        for resource, usage in root.usages()
    }
    return {
        "root": root.name,
        "resources": resources,
        "over": _names(chosen.policy.over(counts)),
        "near": _names(chosen.reserve.near(counts)),
    }


def _counting(root: QuotaRoot, chosen: Chosen) -> QuotaRoot:
    """`root` with the figures that Cyrus goes by, as far as they can be read."""
    if chosen.server is None:
        return root
    try:
        return enforced(root, chosen.server, chosen.problems)
    except CyrusQuotaError as error:
        chosen.problems(error)
        return root


def _figures(usage: Usage, counts: Usage) -> dict[str, object]:
    figures: dict[str, object] = {"used": usage.used, "limit": usage.limit, "exact": usage.exact}
    return figures if counts.used == usage.used else {**figures, "enforced": counts.used}


def _names(resources: tuple[Resource, ...]) -> list[str]:
    return [resource.value for resource in resources]
