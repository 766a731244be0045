"""When the clients speak in an open loop. Pure functions of a rate, a duration and a seed."""

import numpy as np
import numpy.typing as npt

from loadgen.workload.load import Load

Int64s = npt.NDArray[np.int64]

_NS_PER_S = 1_000_000_000


def poisson(rate_per_s: float, duration_s: float, seed: int) -> Int64s:
    """Return the arrivals of a Poisson process: sorted offsets in ns below `duration_s`, int64[n].

    Given how many there are (itself Poisson), the arrivals are independent and uniform over the
    interval (Kingman, Poisson Processes, section 2.4). So n varies by about sqrt(rate x duration)
    from seed to seed.
    """
    random = np.random.default_rng(seed)
    count = random.poisson(rate_per_s * duration_s)
    return np.sort(random.integers(0, round(duration_s * _NS_PER_S), size=count))


def constant(rate_per_s: float, duration_s: float) -> Int64s:
    """Return equally spaced offsets in ns, the first one 0, all below `duration_s`, int64[n]."""
    gap_ns = _NS_PER_S / rate_per_s
    return np.round(np.arange(0, round(duration_s * _NS_PER_S), gap_ns)).astype(np.int64)


def schedule(load: Load) -> Int64s:
    """Return when an open loop sends, in ns from the start of the warm-up, int64[n].

    Raises ValueError if the load is not a valid open loop.
    """
    load.validate()
    if load.offered_per_s is None:
        raise ValueError("offered_per_s is None: only an open loop has a schedule")
    length_s = load.warmup_s + load.duration_s
    if load.arrivals == "constant":
        return constant(load.offered_per_s, length_s)
    return poisson(load.offered_per_s, length_s, load.seed)
