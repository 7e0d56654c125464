"""Report each problem once, and again only when it changes."""

from __future__ import annotations

import re
from typing import Callable, Iterable, Optional

#: More new problems than this are only counted.
MAX_PROBLEMS = 20
_NUMBERS = re.compile("[0-9]+")


class Notices:
    """The present problems, by topic. `say` is for problems, `tell` for what -v shows."""

    def __init__(
        self,
        say: Callable[[str], None],
        tell: Callable[[str], None],
        *,
        with_records: bool = True,
    ) -> None:
        self._say = say
        self._with_records = with_records
        self.tell = tell
        self._wrong: dict[str, tuple[str, str]] = {}
        self._records: frozenset[str] = frozenset()

    def first_wrong(self) -> Optional[str]:
        """Return a present problem, or None."""
        return next((text for _, text in self._wrong.values()), None)

    def wrong(self, topic: str, text: str) -> None:
        """Report a problem with `topic`, unless it was reported with other numbers already."""
        # What is counted grows meanwhile.
        alike = _NUMBERS.sub("", text)
        known, _ = self._wrong.get(topic, ("", ""))
        self._wrong[topic] = alike, text
        if known != alike:
            self._say(text)

    def right(self, topic: str) -> None:
        """Note that the problem with `topic` is gone."""
        if self._wrong.pop(topic, None) is not None:
            self.tell(f"{topic}: the problem is gone")

    def records(self, problems: Iterable[str]) -> None:
        """Report the records that cannot be read, as far as they are new."""
        now = frozenset(problems) if self._with_records else frozenset()
        new = sorted(now - self._records)
        for text in new[:MAX_PROBLEMS]:
            self._say(text)
        if len(new) > MAX_PROBLEMS:
            self._say(f"... and {len(new) - MAX_PROBLEMS} more problems like these")
        if self._records and not now:
            self.tell("records: all are readable again")
        self._records = now
