"""Say a thing once, not every time it is met, and again only when it changes."""

from __future__ import annotations

import re
from typing import Callable, Iterable, Optional

#: More than this at once says nothing new.
MAX_PROBLEMS = 20
_NUMBERS = re.compile("[0-9]+")


class Notices:
    """What is wrong at present, by topic. `say` is for everybody, `tell` for who wants to know."""

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
        """Something that is wrong at present, or None."""
        return next((text for _, text in self._wrong.values()), None)

    def wrong(self, topic: str, text: str) -> None:
        """Something is wrong with `topic`; numbers in the text may differ from time to time."""
        # What is being counted grows meanwhile.
        alike = _NUMBERS.sub("", text)
        known, _ = self._wrong.get(topic, ("", ""))
        self._wrong[topic] = alike, text
        if known != alike:
            self._say(text)

    def right(self, topic: str) -> None:
        """Nothing is wrong with `topic` any more."""
        if self._wrong.pop(topic, None) is not None:
            self.tell(f"{topic}: all is well again")

    def records(self, problems: Iterable[str]) -> None:
        """These are all the records that could not be read this time."""
        now = frozenset(problems) if self._with_records else frozenset()
        new = sorted(now - self._records)
        for text in new[:MAX_PROBLEMS]:
            self._say(text)
        if len(new) > MAX_PROBLEMS:
            self._say(f"... and {len(new) - MAX_PROBLEMS} more problems like these")
        if self._records and not now:
            self.tell("records: all are readable again")
        self._records = now
