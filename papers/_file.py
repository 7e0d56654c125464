"""A generated file: where it is kept, and what it should say."""

from __future__ import annotations

from pathlib import Path

import attrs

CHECKOUT = Path(__file__).resolve().parents[1]


@attrs.frozen
class Generated:
    """A file below the checkout, and its right content."""

    path: Path
    content: str

    @property
    def is_current(self) -> bool:
        """Whether the file in the tree says what it should."""
        return self.path.exists() and self.path.read_text("utf-8") == self.content

    def write(self) -> bool:
        """Write it, if that changes anything; tells whether it did."""
        if self.is_current:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.content, "utf-8")
        return True
