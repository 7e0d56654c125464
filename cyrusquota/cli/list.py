"""cyrusquota list: every quota root of a source, for people and other programs."""

from __future__ import annotations

import json

import click

from cyrusquota.cli._run import Problems
from cyrusquota.cli._source import source_options
from cyrusquota.quota import QuotaRoot
from cyrusquota.source import Source


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
def list_roots(source: Source, problems: Problems, form: str) -> None:
    """Print every quota root, in the order of the source."""
    for root in source.roots(problems):
        click.echo(json.dumps(_object(root)))


def _object(root: QuotaRoot) -> dict[str, object]:
    return {
        "root": root.name,
        "resources": {
            resource.value: {"used": usage.used, "limit": usage.limit, "exact": usage.exact}
            for resource, usage in root.usages()
        },
    }
