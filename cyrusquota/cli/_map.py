"""The map of `cyrusquota-export`: how it begins, what it tells, and how it gets in place."""

from __future__ import annotations

import shlex
import time
from typing import Callable, Optional

from cyrusquota import __version__, publish
from cyrusquota.cli._command import command_again
from cyrusquota.cli._source import Chosen
from cyrusquota.errors import HeldBack
from cyrusquota.maps import Format
from cyrusquota.maps.installed import STAMP
from cyrusquota.publish.guard import MapSummary, Rejection


def comments(chosen: Chosen, roots: int, entries: int, near: int) -> tuple[str, ...]:
    """What a map begins with."""
    return (
        f"Written by cyrusquota-export {__version__}; do not edit, the next run replaces it.",
        f"source: {chosen.source.name}",
        f"policy: {chosen.policy.name}",
        f"since: {time.strftime(STAMP)}",
        f"roots: {roots}",
        f"entries: {entries}",
        f"near: {near}",
    )


def summarizer(written: Format) -> Callable[[bytes], MapSummary]:
    """What tells what a map of a format says of itself."""
    return lambda content: MapSummary.by(written.header(content), written.keys(content))


def put(
    claim: publish.Claim,
    content: bytes,
    ownership: publish.Ownership,
    guard: Callable[[bytes, bytes], Optional[Rejection]],
    output: str,
    written: Format,
    body: Optional[Callable[[bytes], bytes]] = None,
) -> publish.Outcome:
    """Put a map in place; where it is held back, the advice is a command of ours."""
    try:
        return claim.put(
            content,
            ownership,
            body=body or written.body,
            is_ours=lambda old: bool(written.header(old)),
            guard=guard,
        )
    except HeldBack as error:
        raise error.advising(_advice(error.ceiling, output)) from error


def _advice(ceiling: Optional[int], output: str) -> str:
    if ceiling is None:
        return f"see to the source; if there are no quotas any more: rm {shlex.quote(output)}"
    return f"see to the source; if this is right: {command_again('--accept-change', str(ceiling))}"
