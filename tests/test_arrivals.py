"""Schedules are what they claim to be."""

import numpy as np
import pytest
from scipy import stats

from loadgen.workload import arrivals
from loadgen.workload.load import Load

NS_PER_S = 1_000_000_000
SEEDS = range(20)
# The chance that a true Poisson schedule is refused, over all seeds together.
FALSE_ALARMS = 0.001


def gaps_s(offsets_ns: np.ndarray) -> np.ndarray:
    return np.diff(offsets_ns, prepend=0) / NS_PER_S


def p_value(offsets_ns: np.ndarray, rate_per_s: float) -> float:
    """Kolmogorov-Smirnov: how well do the gaps fit the exponential distribution?"""
    return float(stats.kstest(gaps_s(offsets_ns), stats.expon(scale=1 / rate_per_s).cdf).pvalue)


@pytest.mark.parametrize("rate_per_s", [100.0, 5000.0])
def test_poisson_gaps_are_exponential(rate_per_s: float) -> None:
    p_values = [p_value(arrivals.poisson(rate_per_s, 10.0, seed), rate_per_s) for seed in SEEDS]
    assert min(p_values) > FALSE_ALARMS / len(SEEDS)
    # And they are not too good either: under the hypothesis p-values are uniform.
    assert stats.kstest(p_values, "uniform").pvalue > FALSE_ALARMS


@pytest.mark.parametrize("rate_per_s", [100.0, 5000.0])
def test_bursty_fake_fails(rate_per_s: float) -> None:
    """The same number of requests, always two at once."""
    for seed in SEEDS:
        fake = np.repeat(arrivals.poisson(rate_per_s / 2, 10.0, seed), 2)
        assert p_value(fake, rate_per_s) < FALSE_ALARMS / len(SEEDS)


def test_evenly_spaced_fake_fails() -> None:
    assert p_value(arrivals.constant(100.0, 10.0), 100.0) < FALSE_ALARMS / len(SEEDS)


def test_poisson_gaps_are_independent() -> None:
    gaps = gaps_s(arrivals.poisson(5000.0, 10.0, 1))
    assert stats.pearsonr(gaps[1:], gaps[:-1]).pvalue > FALSE_ALARMS


def test_poisson_counts_vary_as_they_should() -> None:
    """The number of arrivals has the variance of its mean."""
    counts = np.array([len(arrivals.poisson(1000.0, 1.0, seed)) for seed in range(400)])
    # (n - 1) s^2 / mean is chi-squared with n - 1 degrees of freedom.
    chi_squared = (len(counts) - 1) * counts.var(ddof=1) / counts.mean()
    low, high = stats.chi2(len(counts) - 1).interval(1 - FALSE_ALARMS)
    assert low < chi_squared < high
    assert counts.mean() == pytest.approx(1000, abs=3.3 * (1000 / 400) ** 0.5)


@pytest.mark.parametrize("rate_per_s", [0.01, 1.0, 3.0, 1000.0, 333_333.0])
def test_poisson_stays_in_its_interval(rate_per_s: float) -> None:
    offsets = arrivals.poisson(rate_per_s, 1.0, 3)
    assert offsets.dtype == np.int64
    assert (np.diff(offsets) >= 0).all()
    assert ((offsets >= 0) & (offsets < NS_PER_S)).all()


def test_same_seed_same_schedule() -> None:
    assert (arrivals.poisson(500.0, 2.0, 9) == arrivals.poisson(500.0, 2.0, 9)).all()
    other = arrivals.poisson(500.0, 2.0, 10)
    assert (
        len(other) != len(arrivals.poisson(500.0, 2.0, 9))
        or (other != arrivals.poisson(500.0, 2.0, 9)).any()
    )


@pytest.mark.parametrize(
    ("rate_per_s", "duration_s", "expected_ns"),
    [
        (4.0, 1.0, [0, 250_000_000, 500_000_000, 750_000_000]),
        (3.0, 1.0, [0, 333_333_333, 666_666_667]),
        (1.0, 3.0, [0, 1_000_000_000, 2_000_000_000]),
        (1.0, 0.5, [0]),
        (0.5, 2.5, [0, 2_000_000_000]),
    ],
)
def test_constant(rate_per_s: float, duration_s: float, expected_ns: list[int]) -> None:
    assert arrivals.constant(rate_per_s, duration_s).tolist() == expected_ns


@pytest.mark.parametrize("rate_per_s", [7.0, 1e5, 333_333.3, 1e6])
def test_constant_does_not_drift(rate_per_s: float) -> None:
    offsets = arrivals.constant(rate_per_s, 10.0)
    assert len(offsets) == pytest.approx(10 * rate_per_s, abs=1)
    exact = np.arange(len(offsets)) * (NS_PER_S / rate_per_s)
    assert np.abs(offsets - exact).max() <= 1


def test_schedule_covers_warm_up_and_window() -> None:
    load = Load(offered_per_s=10.0, arrivals="constant", warmup_s=0.5, duration_s=1.0)
    assert len(arrivals.schedule(load)) == 15


def test_schedule_is_that_of_the_seed() -> None:
    load = Load(offered_per_s=100.0, arrivals="poisson", seed=5)
    expected = arrivals.poisson(100.0, load.warmup_s + load.duration_s, 5)
    assert (arrivals.schedule(load) == expected).all()


def test_closed_loop_has_no_schedule() -> None:
    with pytest.raises(ValueError, match="only an open loop has a schedule"):
        arrivals.schedule(Load())
