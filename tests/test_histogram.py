"""Histograms against the sorted values themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.store import histogram

HOUR_NS = 3_600 * 10**9
# Three significant figures: no value is off by more.
RELATIVE = 1e-3
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999}


def latencies(count: int, seed: int = 0) -> np.ndarray:
    """Heavy-tailed, from microseconds to seconds."""
    return np.random.default_rng(seed).lognormal(11.0, 1.5, count).astype(np.int64) + 1


def nearest_rank(values: np.ndarray, fraction: float) -> int:
    return int(np.sort(values)[int(np.ceil(fraction * len(values))) - 1])


@pytest.mark.parametrize("count", [20_000, 100_003])
def test_percentiles_are_those_of_the_sorted_values(count: int) -> None:
    values = latencies(count)
    summary = histogram.summary(values)
    for name, fraction in PERCENTILES.items():
        assert summary[name] == pytest.approx(nearest_rank(values, fraction), rel=RELATIVE)
    assert summary["n"] == count
    assert summary["min"] == pytest.approx(values.min(), rel=RELATIVE)
    assert summary["max"] == pytest.approx(values.max(), rel=RELATIVE)
    assert summary["mean"] == pytest.approx(values.mean(), rel=RELATIVE)


@given(st.lists(st.integers(1, HOUR_NS), min_size=20, max_size=300))
@settings(deadline=None, max_examples=40)
def test_any_values(numbers: list[int]) -> None:
    values = np.array(numbers, np.int64)
    recorded = histogram.record(values)
    assert recorded.get_total_count() == len(numbers)
    median = histogram.summary(values)["p50"]
    assert median == pytest.approx(nearest_rank(values, 0.5), rel=RELATIVE)


@given(
    st.lists(st.integers(1, HOUR_NS), min_size=20, max_size=300),
    st.floats(0.01, 100),
)
@settings(max_examples=100, deadline=None)
def test_a_percentile_is_that_of_the_library(numbers: list[int], percent: float) -> None:
    made = histogram.record(np.array(numbers))
    found = histogram.percentile(made, percent)
    rank = round(percent / 100 * len(numbers), 6)
    expected = made.get_value_at_percentile(100 * rank / len(numbers))
    assert found == (expected if len(numbers) - rank >= histogram.SAMPLES_BEYOND else None)


@given(st.lists(st.integers(1, HOUR_NS), max_size=100))
@settings(deadline=None, max_examples=40)
def test_buckets_and_mean_are_those_of_the_library(numbers: list[int]) -> None:
    counted = histogram.record(np.array(numbers, np.int64))
    values_ns, counts = histogram.recorded(counted)
    theirs = [
        (bucket.value_iterated_to, bucket.count_at_value_iterated_to)
        for bucket in counted.get_recorded_iterator()  # one object, handed out again and again
    ]
    assert list(zip(values_ns.tolist(), counts.tolist(), strict=True)) == theirs
    if numbers:
        assert histogram.summary(counted)["mean"] == pytest.approx(counted.get_mean_value())


def test_every_value_is_counted_in_its_own_bucket() -> None:
    """The bulk way counts exactly as one value at a time does."""
    values = latencies(3000)
    one_by_one = histogram.HdrHistogram(histogram.LOWEST_NS, histogram.HIGHEST_NS, 3)
    for value in values.tolist():
        assert one_by_one.record_value(value)
    assert bytes(histogram.record(values).counts) == bytes(one_by_one.counts)


@pytest.mark.parametrize("value_ns", [1, 2047, 2048, 2049, 10**9, HOUR_NS])
def test_extremes_of_the_range(value_ns: int) -> None:
    recorded = histogram.record(np.full(5, value_ns))
    assert recorded.get_total_count() == 5
    assert recorded.get_value_at_percentile(100) == pytest.approx(value_ns, rel=RELATIVE)


def test_values_out_of_range_are_an_error() -> None:
    with pytest.raises(ValueError, match="it cannot be recorded"):
        histogram.record(np.array([1000, 3 * HOUR_NS]))


def test_encoding_keeps_every_figure() -> None:
    values = latencies(20_000)
    stored = histogram.decode(histogram.encode(values))
    again, direct = histogram.summary(stored), histogram.summary(values)
    for name in ("n", "censored", *PERCENTILES):
        assert again[name] == direct[name]
    for name in ("mean", "min", "max"):
        assert again[name] == pytest.approx(direct[name], rel=RELATIVE)


@pytest.mark.parametrize("text", ["", "no histogram", "HISTFAAAACF4nJNpmSzMwMDAxAABzFCaEUoz"])
def test_text_that_is_no_histogram(text: str) -> None:
    with pytest.raises(ValueError, match="not an HDR histogram"):
        histogram.decode(text)


def test_merging_is_recording_together() -> None:
    shards = [latencies(5000, seed) for seed in range(4)]
    merged = histogram.merge(histogram.record(shard) for shard in shards)
    assert bytes(merged.counts) == bytes(histogram.record(np.concatenate(shards)).counts)
    assert merged.get_total_count() == 20_000


def test_averaging_percentiles_is_wrong() -> None:
    """Two shards, one slow in 1 % of its requests, together 100 ms at p99.5; the average of
    their percentiles says 50 ms."""
    fast = np.full(50_000, 1_000_000)
    slow = np.concatenate([np.full(49_000, 1_000_000), np.full(1_000, 100_000_000)])
    recorded = [histogram.record(fast), histogram.record(slow)]
    merged = histogram.merge(recorded)
    assert merged.get_value_at_percentile(99.5) == pytest.approx(100_000_000, rel=RELATIVE)
    averaged = np.mean([shard.get_value_at_percentile(99.5) for shard in recorded])
    assert averaged == pytest.approx(50_500_000, rel=0.01)


@pytest.mark.parametrize(
    ("count", "known"),
    [
        (19, set()),
        (20, {"p50"}),
        (99, {"p50"}),
        (100, {"p50", "p90"}),
        (1000, {"p50", "p90", "p99"}),
        (9_999, {"p50", "p90", "p99"}),
        (10_000, {"p50", "p90", "p99", "p99_9"}),
    ],
)
def test_no_percentile_without_ten_samples_beyond_it(count: int, known: set[str]) -> None:
    summary = histogram.summary(np.full(count, 1_000_000))
    assert {name for name in PERCENTILES if summary[name] is not None} == known


def test_no_values() -> None:
    summary = histogram.summary(np.zeros(0, np.int64))
    assert summary["n"] == 0
    assert {summary[name] for name in ("mean", "min", "p50", "max")} == {None}


def test_censored_values_are_beyond_all_others() -> None:
    """10,000 answered in 1 ms and 500 never: p50 and p90 are known, p99 is among the 500."""
    summary = histogram.summary(np.full(10_000, 1_000_000), censored=500)
    assert summary["n"] == 10_000
    assert summary["censored"] == 500
    assert summary["p50"] == summary["p90"] == pytest.approx(1_000_000, rel=RELATIVE)
    assert summary["p99"] is None
    assert summary["p99_9"] is None
    assert summary["at_least"]["p99"] == pytest.approx(1_000_000, rel=RELATIVE)


@pytest.mark.parametrize(
    ("counted", "censored", "percent", "known"),
    [
        (10_000, 0, 99.9, True),  # 0.999 * 10,000 is not 9,990 in binary
        (9_999, 0, 99.9, False),
        (100, 0, 90.0, True),
        (100, 0, 90.1, False),
        (990, 10, 99.0, True),  # the last that was answered, and ten beyond
        (989, 11, 99.0, False),  # the first that was not
        (0, 100, 50.0, False),
        (0, 100, 0.0, False),
        (0, 0, 50.0, False),
    ],
)
def test_any_percentile_is_known_by_the_same_rule(
    counted: int, censored: int, percent: float, known: bool
) -> None:
    recorded = histogram.record(np.full(counted, 1_000_000, np.int64))
    found = histogram.percentile(recorded, percent, censored)
    assert found == (pytest.approx(1_000_000, rel=RELATIVE) if known else None)


def test_censored_values_shift_the_percentiles() -> None:
    """The median of 900 known values and 600 unknown larger ones is the 750th known one."""
    values = np.arange(1, 901) * 1_000_000
    summary = histogram.summary(values, censored=600)
    assert summary["p50"] == pytest.approx(750_000_000, rel=RELATIVE)
