"""The search for the knee, on servers that are a formula."""

import math
from collections import Counter
from collections.abc import Callable

import pytest

from loadgen.trial.methods.search import BISECTIONS, FIRST_PER_S, LAST_PER_S, Probe, search

LIMIT_NS = 2_000_000


def served_up_to(capacity_per_s: float) -> Callable[[float], Probe[None]]:
    """A server that keeps every rate up to its capacity, and nothing beyond."""

    def measure(rate_per_s: float) -> Probe[None]:
        kept = rate_per_s <= capacity_per_s
        achieved = 1.0 if kept else capacity_per_s / rate_per_s
        return Probe(rate_per_s, achieved, 100_000 if kept else math.inf, None)

    return measure


@pytest.mark.parametrize("capacity_per_s", [4_000, 7_000, 33_333, 100_000, 255_000])
def test_the_knee_is_found_from_below_within_the_last_step(capacity_per_s: float) -> None:
    best, _ = search(served_up_to(capacity_per_s), LIMIT_NS)
    assert best is not None
    assert best.offered_per_s <= capacity_per_s
    octave = FIRST_PER_S * 2 ** math.floor(math.log2(capacity_per_s / FIRST_PER_S))
    assert capacity_per_s - best.offered_per_s <= octave / 2**BISECTIONS


def test_a_server_that_keeps_nothing_has_no_knee() -> None:
    best, probes = search(served_up_to(100), LIMIT_NS)
    assert best is None
    assert {probe.offered_per_s for probe in probes} == {FIRST_PER_S}


def test_the_search_ends_at_the_largest_rate_that_makes_sense() -> None:
    best, probes = search(served_up_to(math.inf), LIMIT_NS)
    assert best is not None
    assert max(probe.offered_per_s for probe in probes) == best.offered_per_s <= LAST_PER_S


def test_a_rate_that_is_answered_too_slowly_is_not_kept() -> None:
    best, _ = search(
        lambda rate: Probe(rate, 1.0, 50_000 if rate <= 8_000 else LIMIT_NS + 1, None), LIMIT_NS
    )
    assert best is not None
    assert best.offered_per_s == 8_000


@pytest.mark.parametrize(("spoilt", "best_is_above_per_s"), [(1, 16_000), (2, 0)])
def test_two_of_three_probes_decide(spoilt: int, best_is_above_per_s: float) -> None:
    """The first probes of every rate fail; what is kept after that is kept."""
    tried: Counter[float] = Counter()

    def measure(rate_per_s: float) -> Probe[None]:
        tried[rate_per_s] += 1
        spoil = tried[rate_per_s] <= spoilt or rate_per_s > 20_000
        return Probe(rate_per_s, 0.5 if spoil else 1.0, 0, None)

    best, _ = search(measure, LIMIT_NS)
    assert (best.offered_per_s if best else 0) >= best_is_above_per_s
    assert (best is None) == (spoilt == 2)


def test_one_lucky_probe_is_no_proof() -> None:
    lucky = iter([1.0])

    def measure(rate_per_s: float) -> Probe[None]:
        achieved = next(lucky, 0.5) if rate_per_s == 2 * FIRST_PER_S else 1.0
        return Probe(rate_per_s, achieved if rate_per_s <= 2 * FIRST_PER_S else 0.5, 0, None)

    best, _ = search(measure, LIMIT_NS)
    assert best is not None
    assert best.offered_per_s < 2 * FIRST_PER_S
