"""Slices: several servers alive at once, each driven for some milliseconds in turn, over and over.

A disturbance of a shared machine lasts longer than a round and multiplies the figures of all
servers alike, so the ratio within a round keeps what two whole trials, one after the other, lose
(Bulej et al. 2020, Duet benchmarking, arXiv 2001.05811; tango pairs its samples the same way).

A round drives every server once, in an order of its own. What a slice leaves behind in caches and
in the kernel meets the server that comes next, and the orders are balanced for that (orders.py). A
round in which the machine misbehaved is void for every server: to exclude single slices would be to
choose results. Speed is no ground.

Where other programs want the servers' CPU, a slice would have a part of it, by luck more or less.
So none begins until the CPU is free (canary.py); what becomes crowded all the same is marked, and
counts only where too few other rounds do.
"""

import random
import signal
import time
from collections.abc import Callable, Sequence

from loadgen.clients.scripted import ConversationError
from loadgen.engine.churn import Churn
from loadgen.engine.samples import Outcome, Samples
from loadgen.engine.syscalls import NS_PER_S, Int64s
from loadgen.machine.canary import Canary
from loadgen.machine.cpus import realtime_priority
from loadgen.target.process import TargetError
from loadgen.target.usage import Usage
from loadgen.trial import sliced
from loadgen.trial.errors import TrialError
from loadgen.trial.orders import round_orders
from loadgen.trial.rig import Rig, Station, pinned
from loadgen.trial.sliced import Slice

# Counts for nothing, at the beginning of each slice: this long or so many turns of a closed loop,
# whichever is longer. A server that was left alone has cold caches, and TCP starts slowly again
# after an idle time longer than its time-out (tcp(7), tcp_slow_start_after_idle).
SETTLE_S = 0.005
SETTLE_TURNS = 3
# A slice holds at least so many turns, but is no longer than this because of them.
SLICE_TURNS = 5
LONGEST_SLICE_S = 0.25
# Each server is driven this long before the first round: Python adapts its bytecode to what it
# runs (PEP 659), and buffers grow.
WARM_S = 0.05
# A server that does not sleep is stopped while others are driven, and goes on this long before its
# turn.
AWAKE_S = 0.005
# How long a server may take to come to rest after its slice, and between two looks at its clock.
REST_S = 0.02
LOOK_S = 0.0005
# The generator sleeps for this share of what a drive took, at least. Where others get less than a
# twentieth of a second of its CPU, the kernel takes that from a real-time thread, at once
# (sched_rt_runtime_us in Documentation/scheduler/sched-rt-group.rst).
ASLEEP = 0.07

# While others want the servers' CPU no slice begins. All slices of a comparison wait this long, all
# together: on a machine that is never quiet they go on. In between they ask.
WAIT_S = 3.0
ASK_S = 0.005

Drive = Callable[[float, float, int, Int64s], Samples | Churn]
"""How long to settle (s), how long the slice is (s), a seed, a stop flag => what was stamped."""


class Contestant:
    """A server of a comparison: connected, driven slice by slice.

    station      its server and its clients
    drive        drives it once
    closed_loop  does a client wait for its answer before it sends again?
    slice_s      how long a slice is to be
    drain_s      how long answers are awaited after it
    """

    def __init__(
        self,
        station: Station,
        drive: Drive,
        *,
        clients: int,
        closed_loop: bool,
        slice_s: float,
        drain_s: float,
    ) -> None:
        self.station = station
        self.slices: list[Slice | None] = []
        """one per round; None: it had failed before"""
        self.failed: str | None = None
        """why it cannot be driven any more"""
        self.warmed: Slice | None = None
        """what was driven before the first round"""
        self.settle_s, self.slice_s, self.turn_s = SETTLE_S, slice_s, 0.0
        self.sleeps = station.sleeps is not False
        self._drive, self._clients, self._closed_loop = drive, clients, closed_loop
        self._drain_s, self._drove_s = drain_s, 0.0
        self._account, self._clocks = station.account, station.cpu_clocks()

    def warm_up(self, seed: int, stop: Int64s) -> None:
        """Drive it until it is warm, and find out how long a turn of its clients takes."""
        self._wake()
        began = time.monotonic()
        driven = self._drive(0.0, WARM_S, seed, stop)
        self._drove_s = time.monotonic() - began
        self._note_failure(driven)
        self.warmed = sliced.of(driven, -1, None, 0, self._drain_s)
        if self._closed_loop:
            answers = self.warmed.drive_answers
            self.turn_s = self._clients * WARM_S / answers if answers else LONGEST_SLICE_S
        self.settle_s = max(SETTLE_S, SETTLE_TURNS * self.turn_s)
        self.slice_s = max(self.slice_s, min(SLICE_TURNS * self.turn_s, LONGEST_SLICE_S))
        if not self.rest() and self.station.sleeps is None:
            self.sleeps = False
            self.rest()

    def measure(self, turn: int, seed: int, others: Sequence["Contestant"], stop: Int64s) -> Slice:
        """Drive it for one slice."""
        self._wake()
        # A slice begins anywhere in a turn of the clients. At the same point of each, it would
        # always hold, or always miss, what its length leaves over of a turn.
        settle_s = self.settle_s + random.Random(seed).random() * self.turn_s
        before_ns = self.cpu_ns()
        others_before_ns = {other: other.cpu_ns() for other in others}
        began = time.monotonic()
        driven = self._drive(settle_s, self.slice_s, seed, stop)
        self._drove_s = time.monotonic() - began
        cpu_ns = self.cpu_ns() - before_ns
        # Of one that ended meanwhile nothing is known, and it voids nothing.
        moved_ns = [other.cpu_ns() - others_before_ns[other] for other in others]
        others_cpu_ns = sum(max(0, each_ns) for each_ns in moved_ns)
        self._note_failure(driven)
        self.rest()
        known = cpu_ns if self._clocks else None
        return sliced.of(driven, turn, known, others_cpu_ns, self._drain_s)

    def cpu_ns(self) -> int:
        """What the server has used so far. Of somebody else's nothing is known, and of one that
        has ended nothing any more."""
        if self._account:
            return self._account.cpu_ns()
        used_ns = 0
        for number, clock in enumerate(self._clocks):
            try:
                used_ns += time.clock_gettime_ns(clock)
            except OSError:
                self._clocks = []
                if not number:  # that of the server itself; a child may end
                    self.failed = self.failed or "the server ended"
                return 0
        return used_ns

    def _wake(self) -> None:
        if not self.sleeps:
            self.station.signal(signal.SIGCONT)
            time.sleep(AWAKE_S)

    def rest(self) -> bool:
        """Return when the server does nothing any more, or False if it goes on and on; one that
        never sleeps is stopped."""
        if not self.sleeps:
            self.station.signal(signal.SIGSTOP)
        began = time.monotonic()
        used_ns = -1
        while used_ns != (now_ns := self.cpu_ns()) and time.monotonic() < began + REST_S:
            used_ns = now_ns
            time.sleep(LOOK_S)
        slept_s = time.monotonic() - began
        time.sleep(max(0.0, ASLEEP * self._drove_s - slept_s))
        return used_ns == now_ns

    def _note_failure(self, driven: Samples | Churn) -> None:
        """Who has lost a client, or owes an answer, cannot be driven again; who answers wrong must
        not be, because that voids the round for everybody else too."""
        samples = sliced.samples_of(driven)
        if wrong := int((samples.outcome == Outcome.MISMATCHED).sum()):
            self.failed = f"wrong answers: {wrong}"
        elif lost := sliced.lost(driven):
            kinds = ", ".join(f"{count} {kind}" for kind, count in lost.items())
            self.failed = f"connections were lost: {kinds}"
        elif self.station.by_datagrams:
            pass  # what was lost is a result
        elif owed := int((samples.outcome == Outcome.TIMED_OUT).sum()):
            self.failed = f"{owed} requests were not answered within the drain"


def compare(
    rig: Rig,
    enter: Callable[[Station], Contestant],
    rounds: int,
    offered_per_s: float | None,
) -> None:
    """Measure all servers of a rig by slices, and fill in their records.

    enter          connects a server's clients
    rounds         how often each server is driven
    offered_per_s  in an open loop

    A server that fails does so in its own record, and the others go on.
    """
    contestants: list[Contestant] = []
    before: list[Usage | None] = []
    for station in rig.stations:
        try:
            station.start()
            contestant = enter(station)
            used = station.usage()
        except (TargetError, TrialError, ConversationError, OSError) as error:
            station.fail(error)
        else:
            if station.record["connections"]["active"] != 0:  # by its design it may serve none
                contestants.append(contestant)
                before.append(used)
            contestant.rest()  # while the next one starts, too
    if not contestants:
        return

    def take_turns(stop: Int64s) -> bool:
        # A slice is shorter than what the kernel lets a real-time thread have.
        alone = () if rig.cpus.shared else rig.cpus.server
        with Canary(alone) as canary, realtime_priority(bool(alone)) as realtime:
            alternate(contestants, rounds, rig.seed, canary.is_free, stop)
        return realtime

    realtime, machine = pinned(rig.cpus, take_turns)
    void = sliced.void_rounds([contestant.slices for contestant in contestants])
    for contestant, used in zip(contestants, before, strict=True):
        station = contestant.station
        assert contestant.warmed is not None
        sliced.fill_in(
            station.record,
            contestant.warmed,
            contestant.slices,
            void,
            settle_ns=round(contestant.settle_s * NS_PER_S),
            together=len(contestants),
            offered_per_s=offered_per_s,
            machine=machine,
            realtime=realtime,
        )
        try:
            if contestant.failed:
                raise TrialError(contestant.failed)
            sliced.fill_in_cost(station.record, used, station.usage())
            if station.record["datagrams"]:
                station.record["datagrams"]["dropped"] = station.datagram_drops()
        except (TargetError, TrialError) as error:
            station.fail(error)


def alternate(
    contestants: Sequence[Contestant],
    rounds: int,
    seed: int,
    is_free: Callable[[], bool],
    stop: Int64s,
) -> None:
    """Warm all of them up, then drive each of them once in every round. Runs on the generator's
    CPU, until the end or until `stop[0]` is set.

    is_free   does nobody want the servers' CPU, now that all of them rest?
    """
    for number, contestant in enumerate(contestants):
        if not stop[0]:
            contestant.warm_up(drive_seed(seed, -1, number), stop)
    chance = random.Random(seed)
    patience_s = WAIT_S
    for round_number, order in enumerate(round_orders(len(contestants), rounds, chance)):
        for turn, number in enumerate(order):
            if stop[0]:
                return
            one = contestants[number]
            if one.failed:
                one.slices.append(None)
                continue
            others = [other for other in contestants if other is not one]
            began = time.monotonic()
            while not (was_free := is_free()) and time.monotonic() < began + patience_s:
                time.sleep(ASK_S)
            patience_s -= time.monotonic() - began
            driven = one.measure(turn, drive_seed(seed, round_number, number), others, stop)
            one.slices.append(driven._replace(crowded=not (was_free and is_free())))


def drive_seed(seed: int, round_number: int, number: int) -> int:
    """Every drive has a schedule of its own."""
    return random.Random(f"{seed}/{round_number}/{number}").getrandbits(62)
