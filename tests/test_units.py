"""Numbers as people read them."""

from collections.abc import Callable

import pytest

from loadgen.report import units


@pytest.mark.parametrize(
    ("say", "value", "text"),
    [
        (units.number, 0, "0"),
        (units.number, 0.5, "0.5"),
        (units.number, 999, "999"),
        (units.number, 1000, "1k"),
        (units.number, 1500, "1.5k"),
        (units.number, 2e6, "2M"),
        (units.number, 3e9, "3G"),
        (units.count, None, "-"),
        (units.count, 7, "7"),
        (units.count, 12.34, "12.3"),
        (units.count, 9876, "9,876"),
        (units.count, 45_678, "45.7k"),
        (units.count, 456_789, "457k"),
        (units.count, 1_234_567, "1.2M"),
        (units.duration, None, "-"),
        (units.duration, 0, "0"),
        (units.duration, 999, "999 ns"),
        (units.duration, 51_234, "51.2 us"),
        (units.duration, 1e8, "100 ms"),
        (units.duration, 1234e9, "1,234 s"),
        (units.microseconds, 0.5, "500 ns"),
        (units.microseconds, 1500, "1.5 ms"),
        (units.size, None, "-"),
        (units.size, 0, "0"),
        (units.size, 16, "16 B"),
        (units.size, 1000, "1 kB"),
        (units.size, 1024, "1 KiB"),
        (units.size, 65_536, "64 KiB"),
        (units.size, 20_000, "20 kB"),
        (units.size, 1 << 20, "1 MiB"),
        (units.size, 1000 * 1024, "1000 KiB"),
        (units.size, 3.2e8, "320 MB"),
        (units.size, 2.5e9, "2.5 GB"),
        (units.percent, 93.64, "93.6 %"),
        (units.percent, 1000, "1,000 %"),
    ],
)
def test_numbers_for_people(say: Callable[[float | None], str], value: float, text: str) -> None:
    assert say(value) == text
