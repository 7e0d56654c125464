"""The replies of SMTP and LMTP servers."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple


class Reply(NamedTuple):
    """A reply: its code, and its text without the code, lines joined by newlines."""

    code: int
    text: str


def read_reply(stream: BinaryIO) -> Reply:
    """The next reply on `stream`, of one line or several. Raises EOFError where it ends."""
    texts = []
    while True:
        line = stream.readline()
        if not line.endswith(b"\n"):
            raise EOFError(f"the server stopped talking: {line!r}")
        texts.append(line[4:].rstrip(b"\r\n").decode("utf-8", "replace"))
        if line[3:4] != b"-":
            return Reply(int(line[:3]), "\n".join(texts))
