"""Whatever becomes of runs, letters and the clock: users are told of each crossing, and not again
before it is time.
"""

from __future__ import annotations

import email
import os
import shutil
import tempfile
from pathlib import Path
from typing import Optional

import attrs
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from cyrusquota import maps
from cyrusquota.cyrus.names import Naming, Recipient
from cyrusquota.errors import DeliveryError
from cyrusquota.notify import Post, memory, planned
from cyrusquota.notify.delivery import Fate, Outcome
from cyrusquota.notify.letter import Stationery, Style
from cyrusquota.notify.thresholds import FULL, Standings, Threshold, watched
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.strategies import quota_roots
from cyrusquota.verdicts.evaluator import Verdict
from cyrusquota.verdicts.policies import POLICIES, Policy, Reserve

THRESHOLDS = (Threshold.of("80%"), Threshold.of("95%"), FULL)
#: How the letters that are shipped begin.
SUBJECTS = {"Your mailbox is full": "full", "Your mailbox is almost": "95", "Your mailbox is": "80"}
#: At most so much is used of a limit, in percent, by those whom a threshold concerns again.
BELOW = {"80": 75, "95": 90, "full": 95}
REACHED = {"80": 80, "95": 95, "full": 101}
ORDER = ("80", "95", "full")
USERS = 4
DAY = 86_400
REPEAT = 7 * DAY
LMTPD = POLICIES["lmtpd"]
#: SQLite waits for the disk with every step of a letter.
_IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
POSTMASTER = Stationery(Style.of(None, None, THRESHOLDS), {}, "example.org")


class Killed(BaseException):
    """The process is killed."""


@attrs.frozen
class Letter:
    """A letter that was handed over, or arrived: when, and what it says."""

    real: int
    clock: int
    user: str
    threshold: str
    ids: tuple[str, str]


@attrs.define
class World:
    """The server and the network: the letters that arrive, and what goes wrong on the way.

    `refused` users get no letter. Letters to `lost` ones have an unknown fate; those of `arriving`
    arrive all the same. The run is killed at the letter number `killed_at`, before it arrives or
    after.
    """

    real: int = 0
    clock: int = 0
    arrived: list[Letter] = attrs.field(factory=list)
    handed: list[Letter] = attrs.field(factory=list)
    refused: frozenset[int] = frozenset()
    lost: frozenset[int] = frozenset()
    arriving: bool = True
    killed_at: Optional[int] = None

    def connect(self) -> None:
        """Always possible."""

    def close(self) -> None:
        """Nothing to do."""

    def deliver(self, address: str, letter: bytes) -> Outcome:
        user, number = address.partition("@")[0], int(address[1])
        self._hand_over(user, letter)
        is_killed = self.killed_at == 0
        if self.killed_at is not None:
            self.killed_at -= 1
        if number in self.refused and not is_killed:
            return Outcome(Fate.REFUSED, "452 4.2.2 Over quota")
        is_lost = is_killed or number in self.lost
        if not is_lost or self.arriving:
            self._arrive(self.handed[-1])
        if is_killed:
            raise Killed
        return Outcome(Fate.UNKNOWN if is_lost else Fate.SENT, "")

    def _hand_over(self, user: str, letter: bytes) -> None:
        read = email.message_from_bytes(letter)
        begins = next(text for text in SUBJECTS if read["Subject"].startswith(text))
        ids = (read["Message-ID"], read["Date"])
        self.handed.append(Letter(self.real, self.clock, user, SUBJECTS[begins], ids))

    def _arrive(self, letter: Letter) -> None:
        """Put a letter into the INBOX, unless it is a duplicate, as Cyrus does."""
        if letter.ids not in {other.ids for other in self.arrived if other.user == letter.user}:
            self.arrived.append(letter)


class Telling(RuleBasedStateMachine):
    """Some users, whose mailboxes become fuller and emptier, and runs that tell them."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="cyrusquota", dir=_IN_MEMORY))
        self.world = World(real=1000 * DAY, clock=1000 * DAY)
        #: Before the first run, nobody can know that the clock is wrong.
        self.has_run = False
        #: How far the clock was put forward, in all.
        self.forward = 0
        self.percents = [0] * USERS
        self.unreadable: frozenset[int] = frozenset()
        #: By user and threshold: the number of letters when a run last saw the user below it.
        self.seen_below: dict[tuple[str, str], int] = {}
        #: By user and threshold: when the sender knew that they were told, and `forward` then.
        self.known: dict[tuple[str, str], tuple[int, int]] = {}
        #: By user: the letter that was handed over last, if its fate was not known.
        self.unknown: dict[str, Letter] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    # What happens

    @rule(user=st.integers(0, USERS - 1), percent=st.integers(60, 110))
    def use(self, user: int, percent: int) -> None:
        self.percents[user] = percent

    @rule(seconds=st.sampled_from([1, 59, 61, 3600, DAY, 3 * DAY, REPEAT - 1, REPEAT]))
    def pass_time(self, seconds: int) -> None:
        self.world.real += seconds
        self.world.clock += seconds

    @rule(seconds=st.sampled_from([1, 120, DAY, REPEAT, 900 * DAY]), is_back=st.booleans())
    def set_clock(self, seconds: int, is_back: bool) -> None:
        self.world.clock = max(0, self.world.clock + (-seconds if is_back else seconds))
        self.forward += 0 if is_back else seconds

    @precondition(lambda self: self.has_run)
    @rule()
    def have_no_clock_for_a_while(self) -> None:
        """As a machine without a battery: it starts in 1970, and has the right time later."""
        self.world.clock, before = 60, self.world.clock
        self.run()
        self.world.real += 60
        self.world.clock = before + 60

    @rule(users=st.frozensets(st.integers(0, USERS - 1)))
    def damage(self, users: frozenset[int]) -> None:
        self.unreadable = users

    # Runs

    @rule(
        refused=st.frozensets(st.integers(0, USERS - 1)),
        lost=st.frozensets(st.integers(0, USERS - 1)),
        arriving=st.booleans(),
        killed_at=st.none() | st.integers(0, USERS - 1),
        max_letters=st.integers(1, USERS),
    )
    def run_badly(
        self,
        refused: frozenset[int],
        lost: frozenset[int],
        arriving: bool,
        killed_at: Optional[int],
        max_letters: int,
    ) -> None:
        self.world = attrs.evolve(
            self.world, refused=refused, lost=lost, arriving=arriving, killed_at=killed_at
        )
        self.run(max_letters)
        self.world = attrs.evolve(
            self.world, refused=frozenset(), lost=frozenset(), arriving=True, killed_at=None
        )

    @rule()
    def run_well(self) -> None:
        resting = {
            user
            for user, letter in self.unknown.items()
            if abs(self.world.clock - letter.clock) < 60
        }
        self.run()
        for user, percent in enumerate(self.percents):
            reached = _reached(percent)
            if reached is None or user in self.unreadable or f"u{user}" in resting:
                continue
            since = self.seen_below.get((f"u{user}", reached), 0)
            told = [one for one in self.world.arrived[since:] if one.user == f"u{user}"]
            assert any(ORDER.index(one.threshold) >= ORDER.index(reached) for one in told)

    @precondition(lambda self: not self.unreadable)
    @rule()
    def live_in_peace(self) -> None:
        """Whatever the clock did before: after two times of --repeat, all were told again."""
        begun = len(self.world.arrived)
        for _ in range(2):
            self.run()
            self.pass_time(REPEAT)
        self.run()
        told = {one.user for one in self.world.arrived[begun:]}
        assert told >= {f"u{user}" for user, used in enumerate(self.percents) if _reached(used)}

    def run(self, max_letters: int = USERS) -> None:
        """Run once, and check each letter that is handed over."""
        standings = _standings(
            {
                f"u{user}": percent
                for user, percent in enumerate(self.percents)
                if user not in self.unreadable
            }
        )
        self._look()
        self.has_run = True
        kept = {f"u{user}" for user in self.unreadable}
        with memory.opened(self.place / "state") as remembered:
            now = self.world.clock
            remembered.begin(now, REPEAT)
            remembered.forget(standings.found, kept)
            plan = planned(standings.found, THRESHOLDS, remembered, now=now, repeat=REPEAT)
            post = Post(POSTMASTER, self.world, THRESHOLDS, lambda: self.world.clock)
            before = len(self.world.handed)
            try:
                for due, outcome in post.send(plan.due[:max_letters], remembered):
                    self._check(self.world.handed[-1], outcome.fate)
                    assert due.threshold.name == self.world.handed[-1].threshold
                    before = len(self.world.handed)
            except Killed:
                assert len(self.world.handed) == before + 1
                self._check(self.world.handed[-1], Fate.UNKNOWN)

    def _look(self) -> None:
        """Note whom this run sees below which thresholds."""
        for user, percent in enumerate(self.percents):
            for threshold in ORDER:
                if user not in self.unreadable and percent <= BELOW[threshold]:
                    key = (f"u{user}", threshold)
                    self.seen_below[key] = len(self.world.arrived)
                    self.known.pop(key, None)
                    last = self.unknown.get(f"u{user}")
                    if last is not None and last.threshold == threshold:
                        del self.unknown[f"u{user}"]

    def _check(self, letter: Letter, fate: Fate) -> None:
        """Check that a letter is right and not too early, and note what the sender knows now."""
        user, rank = letter.user, ORDER.index(letter.threshold)
        assert letter.threshold == _reached(self.percents[int(user[1])])
        told = self.known.get((user, letter.threshold))
        if told is not None:
            assert self.world.real - told[0] + self.forward - told[1] >= REPEAT
        last = self.unknown.pop(user, None)
        if last is not None:
            assert abs(letter.clock - last.clock) >= 60
            assert (letter.ids == last.ids) == (ORDER.index(last.threshold) >= rank)
        if fate is Fate.UNKNOWN:
            self.unknown[user] = letter
        elif fate is Fate.SENT:
            for threshold in ORDER[: rank + 1]:
                self.known[user, threshold] = self.world.real, self.forward


def _reached(percent: int) -> Optional[str]:
    return next((name for name in reversed(ORDER) if percent >= REACHED[name]), None)


def _standings(percents: dict[str, int]) -> Standings:
    """What a run finds: the users who are not below all thresholds."""
    return _found(
        [
            QuotaRoot(f"user.{user}", Usage(used * 10, 1000), Usage(5))
            for user, used in percents.items()
        ]
    )


def _found(
    roots: list[QuotaRoot],
    thresholds: tuple[Threshold, ...] = THRESHOLDS,
    policy: Policy = LMTPD,
    reserve: Reserve = Reserve(),  # noqa: B008
) -> Standings:
    found = Standings(Naming(virtdomains=False), policy, reserve, maps.exemption(()))
    near = watched(thresholds, policy, reserve)
    for root in roots:
        over = policy.over(root)
        if over or near.near(root):
            to = Recipient(root.name.partition(".")[2])
            found.add(Verdict(to, root, over, near.near(root)))
    return found


TestTelling = Telling.TestCase

SHARES = st.sampled_from(["10", "12.5", "80", "94.99", "95", "100", "full"])
RESERVES = st.sampled_from(
    [
        Reserve(),
        Reserve(percents=dict.fromkeys(Resource, 2.0)),
        Reserve({Resource.MESSAGE: 10}, {Resource.STORAGE: 10.0}),
    ]
)


@given(
    quota_roots(),
    st.lists(SHARES, min_size=1, unique=True),
    st.sampled_from(list(POLICIES.values())),
    RESERVES,
)
def test_every_user_who_has_reached_a_threshold_is_watched(
    root: QuotaRoot, names: list[str], policy: Policy, reserve: Reserve
) -> None:
    # Beyond a petabyte, parts of a limit are rounded, and Cyrus's own sums overflow in the end.
    sizes = [size for _, usage in root.usages() for size in (usage.used, usage.limit or 0)]
    assume(max(sizes) < 1 << 50)
    root = attrs.evolve(root, name="user.jane")
    thresholds = tuple(sorted(map(Threshold.of, names)))
    found = _found([root], thresholds, policy, reserve).found
    limits = [
        (usage.used, usage.limit)
        for kind, usage in root.usages()
        if kind in policy.room and usage.limit is not None and usage.limit > 0
    ]
    is_full = bool(policy.over(root) or reserve.near(root))
    assert bool(found) >= is_full
    for name, threshold in zip(names, map(Threshold.of, names)):
        if name == "full":
            expected = is_full
        else:
            hundredths = int(float(name) * 100)
            expected = any(used * 10_000 >= limit * hundredths for used, limit in limits)
            expected |= any(limit <= 0 and used > limit for used, limit in _no_limits(root, policy))
        reached = bool(found) and found[0].reached([threshold]) is not None
        assert reached == expected
        assert not (reached and found[0].is_below(threshold))


def _no_limits(root: QuotaRoot, policy: Policy) -> list[tuple[int, int]]:
    return [
        (usage.used, usage.limit)
        for kind, usage in root.usages()
        if kind in policy.room and usage.limit is not None and usage.limit <= 0 and usage.is_over()
    ]


def test_a_world_that_takes_no_letters_ends_the_run() -> None:
    """The letter was surely not sent, so it is due again at once, as another one."""

    @attrs.define
    class Closed(World):
        def deliver(self, address: str, letter: bytes) -> Outcome:
            raise DeliveryError("430 Authentication required")

    with tempfile.TemporaryDirectory() as place:
        world = Closed(clock=DAY)
        standings = _standings({"u0": 90}).found
        with memory.opened(f"{place}/state") as remembered:
            remembered.begin(DAY, REPEAT)
            plan = planned(standings, THRESHOLDS, remembered, now=DAY, repeat=REPEAT)
            post = Post(POSTMASTER, world, THRESHOLDS, lambda: world.clock)
            try:
                list(post.send(plan.due, remembered))
            except DeliveryError:
                pass
            else:
                raise AssertionError("not raised")
            remembered.begin(DAY + 1, REPEAT)
            (due,) = planned(standings, THRESHOLDS, remembered, now=DAY, repeat=REPEAT).due
            assert due.why is memory.Why.REFUSED
