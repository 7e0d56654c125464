"""What `cyrusquota-export` advises where its map is held back."""

from __future__ import annotations

import contextlib
import shlex
from typing import Iterator

from cyrusquota.cli._command import command_again
from cyrusquota.errors import HeldBack


@contextlib.contextmanager
def advised(output: str) -> Iterator[None]:
    """Let a `HeldBack` for the map `output` name the command that would accept it."""
    try:
        yield
    except HeldBack as error:
        if error.ceiling is None:
            advice = f"if there are no quotas any more: rm {shlex.quote(output)}"
        else:
            advice = f"if this is right: {command_again('--accept-change', str(error.ceiling))}"
        raise error.advising(f"see to the source; {advice}") from error
