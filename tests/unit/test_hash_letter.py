"""Which one-letter directory a name is hashed to."""

from __future__ import annotations

import pytest

from cyrusquota.cyrus.names import hash_letter


# Hand-worked with the rule of cyrus-imapd's lib/util.c.
@pytest.mark.parametrize(
    ("name", "plain", "full"),
    [("jane", "j", "I"), ("bob", "b", "E"), ("max", "m", "F"), ("zero", "z", "H"),
     ("u000123", "u", "B"), ("123", "q", "Q"), ("UpperCase", "u", "L"), ("example.org", "e", "O"),
     ("café", "c", "S"), ("fu.ll", "f", "K"), ("jane2", "j", "V"), ("", "q", "A"), ("-", "q", "W")],
)  # fmt: skip
def test_names_are_hashed_to_the_directories_cyrus_uses(name: str, plain: str, full: str) -> None:
    assert hash_letter(name.encode(), full=False) == plain
    assert hash_letter(name.encode(), full=True) == full
