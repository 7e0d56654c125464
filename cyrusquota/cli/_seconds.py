"""A number of seconds on the command line."""

from __future__ import annotations

import math
from typing import Any, Optional

import click


class Seconds(click.FloatRange):
    """A finite number of seconds within a range; Python would take inf and nan for numbers."""

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"expected a number of seconds, found {value!r}", param, ctx)
        return seconds
