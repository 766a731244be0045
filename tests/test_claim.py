"""One rule for what may be said of two servers."""

import itertools
import math

import numpy as np
import pytest

from loadgen.analysis.claim import (
    LEVEL,
    MARGIN,
    Claim,
    claim,
    headlines,
    holm,
    holm_adjusted,
    p_beyond,
    p_within,
)
from loadgen.analysis.estimate import over_epochs


def three_errors(share: float, runs: int) -> float:
    return 3 * math.sqrt(share * (1 - share) / runs)


def epochs(ratio: float, scatter: float, n: int = 6) -> list[float]:
    """Logarithms with this mean and this standard deviation."""
    raw = np.linspace(-1, 1, n)
    return (math.log(ratio) + scatter * raw / raw.std(ddof=1)).tolist()


def claimed(logs: list[float], **how: object) -> Claim:
    found = claim(logs, **how)  # type: ignore[arg-type]
    assert found is not None
    return found


# Six epochs: the 95 % interval reaches 1.05 times their standard deviation, the 90 % one 0.82.
CASES = [
    (1.20, 0.01, "faster"),
    (0.80, 0.01, "slower"),
    (1.05, 0.01, "faster"),
    (1 / 1.05, 0.01, "slower"),
    (1.00, 0.01, "equal"),
    (1.01, 0.01, "equal"),
    (1.00, 0.032, "equal"),  # the 90 % interval fits, the 95 % one does not
    (1.02, 0.005, "equal"),  # different, and by too little to matter
    (1.02, 0.02, "unresolved"),
    (1.03, 0.001, "unresolved"),
    (1.20, 0.20, "unresolved"),
    (1.00, 0.20, "unresolved"),
]


@pytest.mark.parametrize(("ratio", "scatter", "kind"), CASES)
def test_what_is_claimed_follows_from_two_intervals(
    ratio: float, scatter: float, kind: str
) -> None:
    logs = epochs(ratio, scatter)
    found = claimed(logs)
    wide, narrow = over_epochs(logs, 0.95), over_epochs(logs, 0.90)

    assert found.kind == kind
    assert (found.ratio, found.low, found.high, found.n) == (wide.value, wide.low, wide.high, 6)
    assert (kind == "faster") == (wide.low > 1 + MARGIN)
    assert (kind == "slower") == (wide.high < 1 / (1 + MARGIN))
    assert (kind == "equal") == (narrow.low > 1 / (1 + MARGIN) and narrow.high < 1 + MARGIN)
    assert found.resolved == (kind != "unresolved")
    assert (found.p < LEVEL) == found.resolved


@pytest.mark.parametrize(("ratio", "scatter", "kind"), CASES)
def test_the_other_way_round_the_same_is_claimed(ratio: float, scatter: float, kind: str) -> None:
    logs = epochs(ratio, scatter)
    forth, back = claimed(logs), claimed([-log for log in logs])

    assert back.kind == {"faster": "slower", "slower": "faster"}.get(kind, kind)
    assert (back.ratio, back.low, back.high) == pytest.approx(
        (1 / forth.ratio, 1 / forth.high, 1 / forth.low)
    )
    assert back.p == pytest.approx(forth.p)
    if abs(ratio - 1) > 0.001:
        assert back.times == pytest.approx(forth.times)


def test_of_times_and_costs_the_smaller_is_the_faster() -> None:
    logs = epochs(1.25, 0.01)

    assert claimed(logs).kind == "faster"
    assert claimed(logs, more_is_faster=False).kind == "slower"
    assert claimed(epochs(1.0, 0.01), more_is_faster=False).kind == "equal"


def test_times_are_told_from_one_upwards() -> None:
    found = claimed(epochs(0.8, 0.01))

    assert found.times == pytest.approx((1.25, 1 / found.high, 1 / found.low))
    assert claimed([-1.0]).times == (pytest.approx(math.e), 0.0, math.inf)


def test_to_differ_is_less_than_to_be_faster() -> None:
    """1.02 [1.01, 1.03] is one-sided for sure, and nothing to choose by."""
    found = claimed(epochs(1.02, 0.005))

    assert found.differs
    assert found.kind == "equal"
    assert not claimed(epochs(1.0, 0.01)).differs


def test_too_few_epochs_claim_nothing() -> None:
    assert claim([]) is None
    for n in (1, 2):
        found = claimed([1.0] * n)
        assert found.kind == "unresolved"
        assert not found.differs
    assert claimed([1.0] * 3).kind == "faster"
    assert claimed([0.0] * 3).kind == "equal"


def test_the_margin_can_be_chosen() -> None:
    logs = epochs(1.04, 0.005)

    assert claimed(logs).kind == "faster"
    assert claimed(logs, margin=0.06).kind == "equal"
    assert claimed(logs, margin=0.06).margin == 0.06


def test_more_time_is_named_where_it_would_help() -> None:
    """1.00 +- 5 % needs (t s / margin)^2 epochs, of 90 % intervals: 13 and more."""
    logs = epochs(1.0, 0.05)
    needed = math.ceil((2.01505 * 0.05 / math.log(1.03)) ** 2)

    assert claimed(logs, epoch_s=10).more_s == pytest.approx((needed - 6) * 10)
    # Beyond the margin, of 95 % intervals.
    logs = epochs(1.10, 0.10)
    needed = math.ceil((2.57058 * 0.10 / math.log(1.10 / 1.03)) ** 2)
    assert claimed(logs, epoch_s=10).more_s == pytest.approx((needed - 6) * 10)


def test_no_time_is_named_where_none_would_do_or_none_is_needed() -> None:
    assert claimed(epochs(1.0, 0.05)).more_s is None, "who asks does not know what an epoch takes"
    assert claimed(epochs(1.2, 0.01), epoch_s=10).more_s is None, "resolved"
    assert claimed(epochs(1.031, 0.05), epoch_s=10).more_s is None, "the truth is the margin's edge"
    assert claimed([0.0, 0.5], epoch_s=10).more_s is None, "nothing is known"


@pytest.mark.parametrize("epochs", [3, 6])
@pytest.mark.parametrize("scatter", [0.005, 0.02, 0.05])
@pytest.mark.parametrize("truth", [1.0, 1.02, 1.029, 1.031, 1.05, 0.95])
def test_claims_are_wrong_one_time_in_twenty_at_most(
    truth: float, scatter: float, epochs: int
) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(math.log(truth), scatter, (600, epochs)).tolist()
    within = abs(math.log(truth)) < math.log1p(MARGIN)
    wrong = ("faster", "slower") if within else ("equal", "slower" if truth > 1 else "faster")

    share = sum(claimed(row).kind in wrong for row in rows) / len(rows)
    assert share <= 0.05 + three_errors(0.05, len(rows))


def test_holm_by_hand() -> None:
    """The smallest of four is held against a fourth of the level, the next against a third."""
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm([0.04]) == [True]
    assert holm([]) == []
    # What comes after one that failed fails too, small as it is.
    assert holm([0.026, 0.026, 0.9]) == [False, False, False]


def test_headlines_are_claimed_together() -> None:
    sure, barely, open_ = (
        claimed(epochs(ratio, scatter), epoch_s=10)
        for ratio, scatter in ((1.2, 0.01), (1.06, 0.026), (1.0, 0.2))
    )
    assert [each.kind for each in (sure, barely, open_)] == ["faster", "faster", "unresolved"]
    assert barely.p > LEVEL / 2
    together = headlines([sure, barely, open_])

    assert [each.kind for each in together] == ["faster", "unresolved", "unresolved"]
    assert all(each.headline for each in together)
    assert not sure.headline
    assert together[1].more_s is not None
    assert together[1].more_s > 0
    assert (together[1].ratio, together[1].low) == (barely.ratio, barely.low)
    assert headlines([barely])[0].kind == "faster", "alone it stands"


def test_any_headline_is_wrong_in_one_run_of_twenty_at_most() -> None:
    """Five claims whose truths lie on the edge, on either side of it: alone, each is wrong rarely,
    and some of five more than rarely."""
    rng = np.random.default_rng(2)
    edge = math.log1p(MARGIN)
    truths = np.array([edge + 1e-9, edge + 1e-9, edge + 1e-9, edge - 1e-9, 0.3])
    alone = together = 0
    for draw in rng.normal(truths[:, None], 0.004, (1200, 5, 6)).tolist():
        claims = [claimed(logs) for logs in draw]
        alone += any_wrong(claims, truths > edge)
        together += any_wrong(headlines(claims), truths > edge)

    assert together / 1200 <= 0.05 + three_errors(0.05, 1200)
    assert alone / 1200 > 0.10


def any_wrong(claims: list[Claim], beyond: np.ndarray) -> bool:
    return any(
        each.kind == ("equal" if outside else "faster")
        for each, outside in zip(claims, beyond, strict=True)
    )


def test_p_values_are_those_of_students_t() -> None:
    """Three epochs, standard error 0.01: distances of 4.303 and 2.920 errors are 95 and 90 %."""
    error = 0.01
    for distance, sign in itertools.product((2.91999, 4.30265), (1, -1)):
        middle = math.log1p(MARGIN) + sign * distance * error
        logs = [middle + step * error * math.sqrt(3) for step in (-1, 0, 1)]
        one_sided = 0.05 if distance < 4 else 0.025
        if sign > 0:
            assert p_beyond(logs) == pytest.approx(2 * one_sided, rel=1e-4)
            assert p_within(logs) == pytest.approx(1 - one_sided, rel=1e-4)
        else:
            logs = [log - middle for log in logs]
            wide = math.expm1(distance * error)
            assert p_within(logs, wide) == pytest.approx(one_sided, rel=1e-4)
            assert p_beyond(logs, wide) == 1
