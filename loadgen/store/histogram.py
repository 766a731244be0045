"""Recorded nanoseconds => HDR histograms, percentiles, merging.

Raw stamps are kept while measuring and counted afterwards. Percentiles come from the histogram
that is stored, so that anyone can derive them again, and are merged, never averaged.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

Int64s = npt.NDArray[np.int64]

LOWEST_NS = 1
HIGHEST_NS = 3_600 * 10**9
SIGNIFICANT_FIGURES = 3
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9}
# A percentile with fewer samples beyond it says more about luck than about the server.
SAMPLES_BEYOND = 10
# Values below 2**11 are kept exactly, larger ones with their 11 highest bits: three figures.
_EXACT_BITS = 11


def record(values_ns: Int64s) -> HdrHistogram:
    """Count values; zero and negative ones (clock resolution) count as 1 ns.

    Raises ValueError for a value above HIGHEST_NS, which the library would drop silently.
    """
    histogram = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_FIGURES)
    values_ns = np.maximum(values_ns, LOWEST_NS)
    # Cutting the bits that the histogram ignores leaves few distinct values, and each call counts
    # all that are equal.
    _, bits = np.frexp(values_ns.astype(np.float64))
    shift = np.maximum(bits - _EXACT_BITS, 0)
    distinct, counts = np.unique(values_ns >> shift << shift, return_counts=True)
    for value, count in zip(distinct.tolist(), counts.tolist(), strict=True):
        if not histogram.record_value(value, count):
            raise ValueError(f"{value} ns is more than {HIGHEST_NS} ns: it cannot be recorded")
    return histogram


def encode(values_ns: Int64s) -> str:
    """The HDR V2 encoding of all values, compressed, base64."""
    return str(record(values_ns).encode().decode())


def decode(text: str) -> HdrHistogram:
    """The histogram behind `encode`. Raises ValueError for a text that is none."""
    try:
        return HdrHistogram.decode(text.encode())
    except Exception as error:  # the library raises whatever its decoders raise
        raise ValueError("not an HDR histogram") from error


def recorded(histogram: HdrHistogram) -> tuple[Int64s, Int64s]:
    """The largest value of each bucket that counts something, in nanoseconds, and its count; as the
    library's get_recorded_iterator(), which visits every empty bucket."""
    _, highest, counts = _filled(histogram)
    return highest, counts


def merge(histograms: Iterable[HdrHistogram]) -> HdrHistogram:
    """One histogram of all values of several."""
    merged = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_FIGURES)
    for histogram in histograms:
        merged.add(histogram)
    return merged


def summary(values: Int64s | HdrHistogram, censored: int = 0) -> dict[str, Any]:
    """n, mean, min, the percentiles and max in nanoseconds; `censored` values are at least max.

    A percentile with fewer than SAMPLES_BEYOND values beyond it is null; so is one that falls
    among the censored, which is all that is known of it: it is listed in `at_least`.
    """
    histogram = values if isinstance(values, HdrHistogram) else record(values)
    counted = int(histogram.get_total_count())
    total = counted + censored
    result: dict[str, Any] = {"n": counted, "censored": censored, "at_least": {}}
    if not counted:
        return {**result, **dict.fromkeys(("mean", "min", *PERCENTILES, "max"))}
    if isinstance(values, HdrHistogram):
        extremes = {
            "mean": _mean(histogram),
            "min": int(histogram.get_min_value()),
            "max": int(histogram.get_max_value()),
        }
    else:
        extremes = {
            "mean": float(values.mean()),
            "min": int(values.min()),
            "max": int(values.max()),
        }
    result |= extremes
    for name, percent in PERCENTILES.items():
        result[name] = percentile(histogram, percent, censored)
        rank = _rank(percent, total)
        if rank is not None and rank > counted:
            result["at_least"][name] = extremes["max"]
    return result


def percentile(histogram: HdrHistogram, percent: float, censored: int = 0) -> int | None:
    """The value, in nanoseconds, that `percent` of all (0 to 100) do not exceed.

    `censored` values more are larger than all that were recorded. None when fewer than
    SAMPLES_BEYOND lie beyond it, or when it falls among the censored.
    """
    counted = int(histogram.get_total_count())
    rank = _rank(percent, counted + censored)
    if not counted or rank is None or rank > counted:
        return None
    return _value_at(histogram, 100 * rank / counted)


def _rank(percent: float, total: int) -> float | None:
    """How many of `total` values a percentile is not exceeded by; None when too few lie beyond."""
    rank = round(percent / 100 * total, 6)  # 99.9 % of 10,000 leave 10, not 9.999
    return rank if total - rank >= SAMPLES_BEYOND else None


def _value_at(histogram: HdrHistogram, percent: float) -> int:
    """As the library's get_value_at_percentile() of a percentage above 0, which asks each of some
    30,000 buckets for its count: 2 to 5 ms each time."""
    reached = np.cumsum(np.frombuffer(histogram.counts, np.int64))
    index = int(np.searchsorted(reached, histogram.get_target_count_at_percentile(percent)))
    return int(histogram.get_highest_equivalent_value(histogram.get_value_from_index(index)))


def _mean(histogram: HdrHistogram) -> float:
    """As the library's get_mean_value(), which visits every empty bucket: 150 ms each time."""
    lowest, highest, counts = _filled(histogram)
    return float(np.average((lowest + highest + 1) // 2, weights=counts))


def _filled(histogram: HdrHistogram) -> tuple[Int64s, Int64s, Int64s]:
    """Of each bucket that counts something: its lowest value, its highest, and its count.

    As the library's get_value_from_index() and get_highest_equivalent_value(), for all at once: the
    upper bits of an index say how many bits of the value are cut off (HdrHistogram, "bucket" and
    "sub-bucket").
    """
    counts = np.frombuffer(histogram.counts, np.int64)
    index = np.flatnonzero(counts)
    cut = np.maximum((index >> histogram.sub_bucket_half_count_magnitude) - 1, 0)
    kept = index - cut * histogram.sub_bucket_half_count
    shift = cut + histogram.unit_magnitude
    return kept << shift, ((kept + 1) << shift) - 1, counts[index]
