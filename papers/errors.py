from __future__ import annotations

from typing import Iterator

from papers._file import Generated


def files() -> Iterator[Generated]:
    return iter(())
