"""Generate what is made from the code and committed: man pages, completion scripts, the tables of
docs/errors.md, and the routers in exim/. `make man` runs `python -m tools.docs`; a test fails when
a file is out of date.
"""

from __future__ import annotations

from pathlib import Path

import attrs

CHECKOUT = Path(__file__).resolve().parents[2]


@attrs.frozen
class Generated:
    """A file of the checkout, and what it should contain."""

    path: Path
    content: str

    @property
    def is_current(self) -> bool:
        """Return whether the file contains what it should."""
        return self.path.exists() and self.path.read_text("utf-8") == self.content

    def write(self) -> bool:
        """Write the file if it is not current, and return whether that was so."""
        if self.is_current:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.content, "utf-8")
        return True
