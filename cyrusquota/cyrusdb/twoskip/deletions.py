"""Which records of a twoskip file are live, where the log deletes some.

A deletion in the log does not name its key, only the record behind it in the order of the database:
the deleted key is the one before that, of those live at the time. So what is known is all keys in
that order, each with its place, and what the log does one after the other.
"""

from __future__ import annotations

from array import array
from typing import Sequence

from cyrusquota.cyrusdb.database import Unreadable

#: How many places have their bits in one number.
_BITS = 1024
#: The record behind a deleted one that was the last.
END = -1


def live_records(
    places: array[int], size: int, before: Sequence[int], behind: Sequence[int]
) -> array[int]:
    """Return for each place the index of the record that is live there, or -1.

    `places` says which of the `size` places the key of each record has, in the order in which they
    were written. For each deletion, `before` says how many records come before it, and `behind` the
    index of the record that follows the deleted one, or `END`. That has to be live itself; raises
    `Unreadable` where it is not, or where nothing comes before it.
    """
    live = array("q", (-1,)) * size
    done = 0
    words, filled = [0] * (size // _BITS + 1), 0
    for count, following in zip(before, behind):
        if not done:
            live = _last_at(places[:count], size)
            words, filled = _bits(live)
        for record in range(done or count, count):
            place = places[record]
            if live[place] < 0:
                words[place // _BITS] |= 1 << place % _BITS
                filled |= 1 << place // _BITS
            live[place] = record
        done = count
        place = size if following == END else places[following]
        if following != END and live[place] != following:
            raise Unreadable(0, "a deletion that points to a live record")
        # The greatest place below, of those that have their bit.
        index = place // _BITS
        below = words[index] & ((1 << place % _BITS) - 1)
        if not below:
            index = (filled & ((1 << index) - 1)).bit_length() - 1
            if index < 0:
                raise Unreadable(0, "a key before the one that a deletion points to")
            below = words[index]
        bit = below.bit_length() - 1
        words[index] ^= 1 << bit
        if not words[index]:
            filled ^= 1 << index
        live[index * _BITS + bit] = -1
    for record in range(done, len(places)):
        live[places[record]] = record
    return live


def _last_at(places: array[int], size: int) -> array[int]:
    """Return the index of the last of `places` that each of `size` places is, or -1."""
    as_they_stand = array("q", range(size))
    if places == as_they_stand:
        return as_they_stand
    live = array("q", (-1,)) * size
    for record, place in enumerate(places):
        live[place] = record
    return live


def _bits(live: array[int]) -> tuple[list[int], int]:
    """Return numbers with a bit for each place, the lowest first, and one with a bit for each."""
    words = []
    for at in range(0, len(live) + 1, _BITS):
        part = live[at : at + _BITS]
        word = (1 << len(part)) - 1
        if -1 in part:
            word = sum(1 << bit for bit, record in enumerate(part) if record >= 0)
        words.append(word)
    return words, sum(1 << index for index, word in enumerate(words) if word)
