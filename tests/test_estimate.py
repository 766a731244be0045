"""The statistics against known truths: simulated blocks of which median and ratio are known.

Seeds are fixed; tolerances are three standard errors of the simulation's own share, so the tests
say as much as their number of rounds allows, and never flicker.
"""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import records
from scipy import stats

from loadgen.analysis import estimate as estimates
from loadgen.analysis import run as analysis
from loadgen.analysis.estimate import (
    Estimate,
    epoch_log_ratio,
    epochs_needed,
    estimate,
    hodges_lehmann,
    over_epochs,
    ratio,
    slice_figures,
)
from loadgen.analysis.run import CellData, needs_more
from loadgen.store import histogram, metric
from loadgen.store.schema import Header, Record
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices

Values = npt.NDArray[np.float64]
ROUNDS = 1500
NOISE = 0.03


def quiet(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Trials that differ by a few per cent."""
    return np.exp(rng.normal(0, NOISE, shape))


def disturbed(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
    """What a shared machine does: one trial in ten is two to five times slower."""
    slower = np.where(rng.random(shape) < 0.1, rng.uniform(2, 5, shape), 1)
    return quiet(rng, shape) / slower


def heavy(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Tails so heavy that there is no variance: Student's t, 1.5 degrees of freedom."""
    return np.exp(NOISE * rng.standard_t(1.5, shape))


def skewed(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
    """One tail only, and that a heavy one: Pareto, no variance."""
    return 1 + rng.pareto(1.5, shape)


Noise = Callable[[np.random.Generator, tuple[int, int]], Values]


def true_median(noise: Noise) -> float:
    return float(np.median(noise(np.random.default_rng(99), (1_000_000, 1))))


def covered(intervals: list[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def three_errors(share: float, rounds: int = ROUNDS) -> float:
    return 3 * math.sqrt(share * (1 - share) / rounds)


def simulated(noise: Noise, blocks: int, seed: int = 1) -> list[Estimate]:
    rows = noise(np.random.default_rng(seed), (ROUNDS, blocks))
    found = [estimate(row.tolist()) for row in rows]
    return [each for each in found if each is not None]


@pytest.mark.parametrize("blocks", [2, 3, 5, 6, 7, 10, 15])
@pytest.mark.parametrize("noise", [quiet, disturbed, heavy, skewed])
def test_intervals_cover_the_true_median_as_often_as_they_say(noise: Noise, blocks: int) -> None:
    share = covered([(e.low, e.high) for e in simulated(noise, blocks)], true_median(noise))

    assert share >= 0.94 - three_errors(0.94)
    if blocks >= estimates.ORDER_STATISTICS_FROM:
        assert share <= 0.96 + three_errors(0.96)  # no wider than they need be


@pytest.mark.parametrize(("blocks", "at_most"), [(3, 0.80), (5, 0.945), (8, 0.935)])
def test_the_percentile_bootstrap_covers_less_which_is_why_it_is_not_used(
    blocks: int, at_most: float
) -> None:
    rng = np.random.default_rng(2)
    truth = true_median(disturbed)
    intervals = []
    for row in disturbed(rng, (600, blocks)):
        found = stats.bootstrap(
            (row,), np.median, n_resamples=600, method="percentile", rng=rng, vectorized=True
        ).confidence_interval
        intervals.append((found.low, found.high))

    assert covered(intervals, truth) < at_most


@pytest.mark.parametrize("blocks", [3, 5, 10])
@pytest.mark.parametrize("noise", [quiet, disturbed, heavy, skewed])
def test_one_server_under_two_names_is_no_different_nineteen_times_of_twenty(
    noise: Noise, blocks: int
) -> None:
    rng = np.random.default_rng(3)
    alarms = 0
    for above, below in zip(
        noise(rng, (ROUNDS, blocks)), noise(rng, (ROUNDS, blocks)), strict=True
    ):
        found = estimate((above / below).tolist())
        assert found is not None
        alarms += not found.low <= 1 <= found.high

    false_alarms = stats.binomtest(alarms, ROUNDS).proportion_ci(0.997)
    assert false_alarms.low <= 0.06


# How often a server that is slower by 5, 10 and 20 % is told from the other, by number of blocks.
# Disturbed trials cost much: two servers, ten blocks, and four pairs of which one is disturbed.
POWER = {
    (quiet, 3): (0.20, 0.54, 0.92),
    (quiet, 5): (0.51, 0.96, 1.00),
    (quiet, 10): (0.84, 1.00, 1.00),
    (disturbed, 5): (0.17, 0.34, 0.37),
    (disturbed, 10): (0.54, 0.75, 0.76),
    (disturbed, 20): (0.84, 0.99, 0.99),
}


@pytest.mark.parametrize(("noise", "blocks"), POWER)
def test_shifts_are_found_as_often_as_published(noise: Noise, blocks: int) -> None:
    for shift, share in zip((1.05, 1.10, 1.20), POWER[noise, blocks], strict=True):
        detected, _ = shifted(noise, shift, blocks)
        assert detected == pytest.approx(share, abs=three_errors(share) + 0.005)


def shifted(noise: Noise, shift: float, blocks: int) -> tuple[float, float]:
    """The share of runs that tell a server from one `shift` times as slow, and the median ratio."""
    rng = np.random.default_rng(4)
    ratios = []
    for base, slow in zip(noise(rng, (ROUNDS, blocks)), noise(rng, (ROUNDS, blocks)), strict=True):
        found = estimate((base / (slow / shift)).tolist())
        assert found is not None
        ratios.append(found)
    detected = float(np.mean([each.low > 1 for each in ratios]))
    return detected, float(np.median([each.value for each in ratios]))


@pytest.mark.parametrize("shift", [1.05, 1.1, 1.2])
@pytest.mark.parametrize("blocks", [3, 5, 10])
@pytest.mark.parametrize("noise", [quiet, disturbed, heavy])
def test_a_shift_is_estimated_without_bias(noise: Noise, shift: float, blocks: int) -> None:
    _, estimated = shifted(noise, shift, blocks)

    assert estimated == pytest.approx(shift, rel=0.005)


def test_an_interval_contains_its_median() -> None:
    for noise in (quiet, disturbed, heavy, skewed):
        for blocks in range(1, 12):
            for found in simulated(noise, blocks)[:200]:
                assert found.low <= found.value <= found.high


def test_one_block_says_nothing_about_its_interval() -> None:
    found = estimate([5.0])

    assert found == Estimate(5.0, 0.0, math.inf, 1)
    assert found.half_width == math.inf


def test_no_values_give_no_estimate() -> None:
    assert estimate([]) is None


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [7.0] * 4, [7.0] * 9])
def test_equal_values_give_an_interval_without_width(values: list[float]) -> None:
    found = estimate(values)

    assert found is not None
    assert found.half_width == pytest.approx(0)
    assert found.value == values[0]


def test_zeros_are_no_obstacle() -> None:
    found = estimate([0.0, 1.0, 2.0])

    assert found is not None
    assert found.low == 0
    assert math.isfinite(found.high)


def test_the_interval_for_ten_blocks_is_the_published_one() -> None:
    """By hand, for n = 10: the second from either end covers 0.9785, the third 0.8906."""
    excess = (0.978515625 - 0.95) / (0.978515625 - 0.890625)
    weight = 8 * excess / (2 + 6 * excess)
    found = estimate([float(value) for value in range(1, 11)])

    assert found is not None
    assert found.low == pytest.approx(2 + weight)
    assert found.high == pytest.approx(9 - weight)


def trials(server: str, figures: list[float]) -> list[Record]:
    return [
        records.record(server, block=block, throughput_per_s=figure, latencies_ns=[1000])
        for block, figure in enumerate(figures)
    ]


def test_ratios_pair_the_trials_of_a_block() -> None:
    """A machine that halves its speed from block to block disturbs no ratio."""
    fast = trials("epoll", [2000.0, 1000.0, 500.0, 250.0])
    slow = trials("poll", [1000.0, 500.0, 250.0, 125.0])
    found = ratio(fast, list(reversed(slow)), metric.throughput)

    assert found is not None
    assert (found.estimate.low, found.estimate.high) == pytest.approx((2, 2))


def test_swapping_the_servers_inverts_the_ratio() -> None:
    one = trials("epoll", [1000.0, 1100.0, 1040.0])
    other = trials("poll", [900.0, 1200.0, 1000.0])
    forth, back = ratio(one, other, metric.throughput), ratio(other, one, metric.throughput)

    assert forth is not None
    assert back is not None
    assert forth.estimate.low == pytest.approx(1 / back.estimate.high)
    assert forth.estimate.high == pytest.approx(1 / back.estimate.low)


def test_blocks_that_only_one_server_has_count_in_no_ratio() -> None:
    one, other = trials("epoll", [1000.0, 1000.0]), trials("poll", [500.0])
    found = ratio(one, other, metric.throughput)

    assert found is not None
    assert found.estimate.n == 1
    assert ratio(one, [], metric.throughput) is None


def sliced(
    server: str, rates: list[list[float | None]], void: list[str | None] | None = None
) -> list[Record]:
    """Records of epochs: for each the rates of its rounds."""
    made: list[Record] = []
    for block, column in enumerate(rates):
        row: Any = records.record(server, block=block, throughput_per_s=7.0, latencies_ns=[1000])
        rounds = len(column)
        row["slices"] = {
            "together": 2,
            "settle_ns": 10_000_000,
            "turn": [0] * rounds,
            "start_ns": [0] * rounds,
            "length_ns": [10**9 if rate is not None else None for rate in column],
            "answers": column,
            "span_ns": [10**9 if rate is not None else None for rate in column],
            "drive_answers": column,
            "cpu_ns": [None] * rounds,
            "p50_ns": [None if rate is None else rate * 1000 for rate in column],
            "p99_ns": [None] * rounds,
            "others_cpu_ns": [0] * rounds,
            "pause_ns": [0] * rounds,
            "crowded": [False] * rounds,
            "void": void or [None] * rounds,
        }
        made.append(row)
    return made


def test_slices_are_divided_round_by_round_and_intervals_are_over_epochs() -> None:
    """Rounds that differ by a factor of ten disturb no ratio, nor does one odd round."""
    one = sliced("epoll", [[200.0, 20.0, 2000.0, 9.0], [110.0, 11.0, 1.1]])
    other = sliced("poll", [[100.0, 10.0, 1000.0, 9.0], [100.0, 10.0, 1.0]])
    found = ratio(one, other, metric.throughput)

    assert found is not None
    assert found.logs == pytest.approx([math.log(2), math.log(1.1)])
    assert found.estimate == over_epochs(found.logs)
    assert found.estimate.value == pytest.approx(math.sqrt(2.2))
    assert found.estimate.n == 2


def test_each_metric_has_its_own_column_of_the_slices() -> None:
    one, other = sliced("epoll", [[3.0, 3.0, 3.0]]), sliced("poll", [[1.0, 1.0, 1.0]])

    for each in (
        metric.throughput,
        metric.latency_us("service", "p50"),
        metric.latency_us("response", "p50"),
    ):
        found = ratio(one, other, each)
        assert found is not None
        assert found.estimate.value == pytest.approx(3)
    assert ratio(one, other, metric.cpu_us) is None, "not known in any round"
    assert ratio(one, other, metric.latency_us("response", "p99")) is None, "nor in the epoch"
    other[0]["throughput_per_s"] = 14.0
    whole = ratio(one, other, lambda record: record["throughput_per_s"])
    assert whole is not None
    assert whole.estimate.value == pytest.approx(0.5), (
        "what slices do not have is taken from the epoch"
    )


def test_who_took_part_twice_is_compared_twice_in_each_round() -> None:
    one = sliced("poll", [[12.0, 12.0, 12.0], [3.0, 3.0, 3.0]])
    first = sliced("epoll", [[4.0, 6.0, 1.0], [6.0, None, 6.0]])
    again = sliced("epoll", [[6.0, 6.0, 60.0], [6.0, 1.0, None]])
    found = ratio(one, [*first, *again], metric.throughput)

    assert found is not None
    assert found.logs == pytest.approx([math.log(2), math.log(0.5)])
    assert found.estimate.n == 2, "two records of an epoch are one epoch"
    back = ratio([*first, *again], one, metric.throughput)
    assert back is not None
    assert back.logs == pytest.approx([-log for log in found.logs])
    without_slices: Any = copy.deepcopy([*first, *again])
    for row, figure in zip(without_slices, (2.0, 2.0, 8.0, 8.0), strict=True):
        row["slices"], row["throughput_per_s"] = None, figure
    whole = ratio(one, without_slices, metric.throughput)
    assert whole is not None
    assert whole.logs == pytest.approx([math.log(7 / 4)] * 2)


def test_crowded_slices_count_only_where_too_few_others_do() -> None:
    one: Any = sliced("poll", [[2.0, 2.0, 2.0, 90.0, 90.0, 90.0, 90.0]])
    other: Any = sliced("epoll", [[1.0] * 7])
    one[0]["slices"]["crowded"] = [False] * 3 + [True] * 2 + [False] * 2
    other[0]["slices"]["crowded"] = [False] * 5 + [True] * 2
    found = ratio(one, other, metric.throughput)
    assert found is not None
    assert found.logs == pytest.approx([math.log(2)]), "one of the two is enough"

    other[0]["slices"]["crowded"][0] = True
    found = ratio(one, other, metric.throughput)
    assert found is not None
    assert found.logs == pytest.approx([math.log(90)]), "two rounds are too few"


def test_of_who_took_part_twice_the_slice_that_was_not_crowded_counts() -> None:
    one = sliced("poll", [[2.0, 2.0, 2.0]])
    first: Any = sliced("epoll", [[0.5, 1.0, 1.0]])
    again = sliced("epoll", [[1.0, 1.0, 1.0]])
    first[0]["slices"]["crowded"] = [True, False, False]
    found = ratio(one, [*first, *again], metric.throughput)

    assert found is not None
    assert found.logs == pytest.approx([math.log(2)])


def test_a_percentile_by_slices_is_that_of_all_requests_of_all_epochs() -> None:
    """Epochs that have a p99 of their own are not like those that have none."""

    def epochs(*latencies_us: list[int]) -> CellData:
        made = sliced("poll", [[1000.0] * 3] * len(latencies_us))
        for row, values_us in zip(made, latencies_us, strict=True):
            values_ns = np.array(values_us) * 1000
            row["histograms"]["service"] = histogram.encode(values_ns)
            row["latency_ns"]["service"] = histogram.summary(values_ns)  # type: ignore[typeddict-item]
        return CellData(records.cell(), made)

    p99_us = metric.latency_us("service", "p99")
    fast, slow = [10] * 2000, [900] * 500
    mixed = epochs(fast, fast, fast, slow)
    assert [p99_us(row) is None for row in mixed.records] == [False, False, False, True]
    found = mixed.over_blocks(p99_us)
    assert found is not None
    assert found.value == pytest.approx(900, rel=1e-3)
    assert found.n == 1, "an epoch without a p99 of its own: there is no interval"
    alike = epochs(fast, [12] * 2000, [11] * 2000).over_blocks(p99_us)
    assert alike is not None
    assert alike.n == 3
    assert alike.value == pytest.approx(12, rel=1e-3)
    assert alike.low < 12 <= alike.high
    assert epochs([10] * 100).over_blocks(p99_us) is None, "all together are too few"


def test_void_rounds_and_those_that_one_server_lacks_count_for_nobody() -> None:
    void = [None, "another server's clock moved", None, None, None, None]
    one = sliced("epoll", [[2.0, 900.0, 2.0, None, 0.0, 2.0]], void)
    other = sliced("poll", [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    dead = sliced("select", [[1.0, 1.0, 1.0]])

    assert slice_figures(one[0], metric.throughput) == [2.0, None, 2.0, None, 0.0, 2.0]
    found = ratio(one, other, metric.throughput)
    assert found is not None
    assert found.logs == pytest.approx([math.log(2)])
    assert ratio(one, dead, metric.throughput) is None, "two rounds are too few"
    assert epoch_log_ratio([2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0]) == pytest.approx(math.log(2))


def test_a_block_without_slices_counts_by_its_figures() -> None:
    one, other = sliced("epoll", [[3.0] * 3] * 2), sliced("poll", [[1.0] * 3] * 2)
    one[1]["slices"] = None
    one[1]["throughput_per_s"] = 21.0
    found = ratio(one, other, metric.throughput)

    assert found is not None
    assert found.logs == pytest.approx([math.log(3), math.log(3)])


def test_an_epoch_that_is_void_counts_for_nothing_though_its_rounds_do_not_say_so() -> None:
    one, other = sliced("epoll", [[3.0] * 3] * 3), sliced("poll", [[1.0] * 3] * 3)
    one[2]["verdict"]["valid"] = False
    found = ratio(one, other, metric.throughput)

    assert found is not None
    assert found.estimate.n == 2


def test_the_logarithms_of_trials_are_kept_unless_one_is_zero() -> None:
    one, other = trials("epoll", [4.0, 9.0]), trials("poll", [2.0, 3.0])
    found = ratio(one, other, metric.throughput)

    assert found is not None
    assert found.logs == pytest.approx([math.log(2), math.log(3)])
    one[0]["throughput_per_s"] = 0.0
    found = ratio(one, other, metric.throughput)
    assert found is not None
    assert found.logs == ()
    assert found.estimate.n == 2


def test_the_interval_over_epochs_is_students() -> None:
    """By hand: the mean of 0.1, 0.2, 0.3 is 0.2, its standard error 0.1 / sqrt(3)."""
    found = over_epochs([0.1, 0.2, 0.3])

    assert (found.value, found.n) == (pytest.approx(math.exp(0.2)), 3)
    assert math.log(found.high) == pytest.approx(0.2 + 4.30265 * 0.1 / math.sqrt(3), rel=1e-5)
    assert math.log(found.low) == pytest.approx(0.2 - 4.30265 * 0.1 / math.sqrt(3), rel=1e-5)
    narrower = over_epochs([0.1, 0.2, 0.3], 0.90)
    assert math.log(narrower.high) == pytest.approx(0.2 + 2.91999 * 0.1 / math.sqrt(3), rel=1e-5)


def test_one_epoch_has_no_interval_and_none_no_ratio() -> None:
    assert over_epochs([0.0]) == Estimate(1.0, 0.0, math.inf, 1)
    with pytest.raises(ValueError, match="no epoch"):
        over_epochs([])


def test_the_estimate_of_hodges_and_lehmann_is_the_median_of_means_of_pairs() -> None:
    # Pairs: 0, 0.5, 1, 5, 5.5, 10.
    assert hodges_lehmann([10.0, 0.0, 1.0]) == pytest.approx(3)
    assert hodges_lehmann([7.0]) == 7


def test_epochs_needed_are_those_of_stein() -> None:
    """By hand: six epochs, standard deviation 0.1; t of five degrees of freedom is 2.5706."""
    logs = [-0.1, 0.1, -0.1, 0.1, 0.0, 0.0]
    scatter = math.sqrt(0.04 / 5)
    needed = math.ceil((2.5706 * scatter / math.log(1.06)) ** 2)

    assert epochs_needed(logs, 0.06) == needed == 16
    assert epochs_needed(logs, 0.06, most=10) == 10
    assert epochs_needed(logs, 0.03) == estimates.MOST_EPOCHS
    assert epochs_needed(logs, 0.5) == 6, "those that there are, at least"
    assert epochs_needed([0.0], 0.5) == estimates.MOST_EPOCHS, "one says nothing of scatter"
    assert epochs_needed([0.0] * 6, 0.03) == 6


@pytest.mark.parametrize("blocks", [3, 5, 10])
@pytest.mark.parametrize("noise", [quiet, disturbed, heavy, skewed])
def test_claims_about_trials_err_no_more_often_than_they_say(noise: Noise, blocks: int) -> None:
    """What `claim` does with the logarithms of paired trials. Where trials are disturbed it errs
    less often and finds less."""
    rng = np.random.default_rng(5)
    pairs = noise(rng, (ROUNDS, blocks)), noise(rng, (ROUNDS, blocks))
    found = [over_epochs(row) for row in np.log(pairs[0] / pairs[1]).tolist()]

    share = covered([(each.low, each.high) for each in found], 1.0)
    assert share >= 0.94 - three_errors(0.94)


def test_invalid_trials_are_kept_but_count_in_nothing(tmp_path: Path) -> None:
    rows = trials("epoll", [1000.0, 1000.0])
    rows.append(
        records.record(block=2, throughput_per_s=9000, steal=0.5, latencies_ns=[9_000] * 100)
    )
    run = analysis.load(records.write_run(tmp_path / "run", rows))
    (cell,) = run.cells.values()
    throughput = cell.over_blocks(metric.throughput)

    assert len(cell.records) == 3
    assert cell.merged_us("service", 50) is None  # two samples are left
    assert throughput is not None
    assert (throughput.value, throughput.n) == (1000, 2)
    paired = ratio(cell.records, cell.records, metric.throughput)
    assert paired is not None
    assert paired.estimate.n == 2


def test_percentiles_are_merged_not_averaged() -> None:
    """Two shards, 1 ms and 100 ms: half of all requests are slow, though p50 averages to 50 ms."""
    quick = records.record(latencies_ns=[1_000_000] * 990 + [100_000_000] * 10)
    slow = records.record(block=1, latencies_ns=[100_000_000] * 3000)
    merged = CellData(records.cell(), [quick, slow])

    assert merged.merged_us("service", 50) == pytest.approx(100_000, rel=1e-3)
    assert merged.merged_us("service", 24) == pytest.approx(1_000, rel=1e-3)


def test_a_percentile_needs_ten_samples_beyond_it() -> None:
    def cell(samples: int, blocks: int) -> CellData:
        return CellData(
            records.cell(),
            [records.record(block=b, latencies_ns=[1000] * samples) for b in range(blocks)],
        )

    assert cell(999, 1).merged_us("service", 99) is None
    assert cell(1000, 1).merged_us("service", 99) == 1
    assert cell(500, 2).merged_us("service", 99) == 1  # together they are enough


def test_the_unanswered_are_slower_than_any_percentile_that_is_printed() -> None:
    latencies = np.full(980, 1_000)
    record = records.record(latencies_ns=latencies.tolist())
    record["latency_ns"]["service"] = histogram.summary(latencies, censored=20)  # type: ignore[typeddict-item]
    cell = CellData(records.cell(), [record])

    assert cell.merged_us("service", 97) == 1
    assert cell.merged_us("service", 98.5) is None


def test_a_server_with_a_trial_of_its_own_is_measured_as_often_as_planned() -> None:
    assert not needs_more((records.cell(),), trials("epoll", [1000.0, 1200.0, 800.0]), 3)


def test_at_a_given_rate_it_is_the_cost_that_has_to_be_known() -> None:
    """The throughput is the rate, and says nothing; the latency says how busy the machine is."""
    assert Slices(offered_per_s=1000.0, arrivals="poisson").target is metric.cpu_us
    assert Slices().target is metric.throughput


def test_epochs_are_added_until_each_ratio_to_the_reference_is_narrow() -> None:
    """Two stages: what the first ones say of the variance settles it, and those after do not."""

    def comparison(spread: float, blocks: int) -> tuple[tuple[Cell, ...], list[Record]]:
        found: list[Record] = []
        for server, replica in (("epoll", 0), ("epoll", 1), ("poll", 0)):
            rates: list[list[float | None]] = [
                [1000.0 * (1 + spread * (-1) ** block * (server == "poll"))] * 3
                for block in range(blocks)
            ]
            for row in sliced(server, rates):
                cell = Cell(server=server, experiment="x", workload=Slices(), replica=replica)
                found.append({**row, "cell": cell.as_record()})
        cells = tuple(dict.fromkeys(Cell.of(row["cell"]) for row in found))
        return cells, found

    assert needs_more(*comparison(0.05, 5), 5)
    assert not needs_more(*comparison(0.001, 5), 5)
    assert needs_more(*comparison(0.05, 8), 5)
    assert not needs_more(*comparison(0.05, 24), 5)


def test_more_blocks_do_not_help_a_comparison_that_fails_each_time() -> None:
    cells = [
        Cell(server=server, experiment="x", workload=Slices(), replica=replica)
        for server, replica in (("epoll", 0), ("epoll", 1))
    ]
    failing = [
        {
            **records.record(block=block, steal=0.5, latencies_ns=[1]),
            "cell": cell.as_record(),
        }
        for block in range(3)
        for cell in cells
    ]

    assert needs_more(cells, failing[:4], 3)  # type: ignore[arg-type]
    assert not needs_more(cells, failing, 3)  # type: ignore[arg-type]


def test_what_the_trials_of_a_cell_have_in_common_is_that_of_a_valid_one() -> None:
    """A disturbed trial may have greeted fewer than the others."""
    disturbed = records.record(greeted=3, steal=0.5)
    sound = records.record(block=1)

    assert CellData(records.cell(), [disturbed, sound]).first is sound
    assert CellData(records.cell(), [disturbed]).first is disturbed


def test_cells_come_in_the_order_of_the_plan_not_of_the_shuffled_trials(tmp_path: Path) -> None:
    rows = [
        records.record(server, connections=count, throughput_per_s=100.0, position=position)
        for position, (server, count) in enumerate([("poll", 8), ("epoll", 64), ("epoll", 8)])
    ]
    run = analysis.load(records.write_run(tmp_path / "run", [rows[2], rows[0], rows[1]]))
    plan = records.plan([row["cell"] for row in rows], blocks=1)
    header: Header = {**run.header, "plan": plan}
    run = analysis.Run(run.path, header, run.records)

    cells = [records.cell("poll"), records.cell("epoll", connections=64), records.cell("epoll")]
    assert list(run.cells) == [cell.id for cell in cells]
    measured = {
        cell.id: CellData(cell, [row for row in run.records if row["cell"] == cell.as_record()])
        for cell in cells
    }
    assert all(len(data.records) == 1 for data in measured.values())
    poll, epoll_64, epoll_8 = measured.values()
    assert run.along("throughput", "connections") == {
        "poll": {8: poll},
        "epoll": {8: epoll_8, 64: epoll_64},
    }
    assert run.of("idle") == {}
