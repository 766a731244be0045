"""What a run has to say of a claim: ratios, shares and figures, each with its interval."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from scipy import special

from loadgen.analysis import claim as rule
from loadgen.analysis.estimate import CONFIDENCE, MINIMUM_BLOCKS, Estimate, estimate, ratio
from loadgen.analysis.run import CellData, Run
from loadgen.claims import cells
from loadgen.claims.claim import Claim, Compared, Seen, Verdict
from loadgen.report.words import interval, of_claim
from loadgen.store.metric import Metric
from loadgen.store.schema import Record
from loadgen.trial.cell import Cell


@dataclass(frozen=True)
class Share:
    """In how many of some tries a claim held, and the interval of that share."""

    held: int
    tries: int
    low: float
    high: float

    @property
    def always(self) -> bool:
        """In each of them."""
        return self.held == self.tries

    @property
    def never(self) -> bool:
        """In none of them."""
        return not self.held

    def __str__(self) -> str:
        return f"{self.held:,} of {self.tries:,} ({self.percent})"

    @property
    def percent(self) -> str:
        """ "5 % [2, 14]" """
        value, low, high = (100 * each for each in (self.held / self.tries, self.low, self.high))
        # What is not quite all must not look like it.
        plain = all(each in (0, 100) or 0.5 <= each <= 99.5 for each in (value, low, high))
        digits = 0 if plain else 2
        return f"{value:.{digits}f} % [{low:.{digits}f}, {high:.{digits}f}]"

    @property
    def failed(self) -> "Share":
        """The same of the tries in which it did not hold."""
        return Share(self.tries - self.held, self.tries, 1 - self.high, 1 - self.low)


def share(parts: Sequence[tuple[int, int]]) -> Share | None:
    """The share over blocks of (held, tries), with the interval of Wilson (1927, Journal of the
    American Statistical Association 22); None without a try.

    Tries of one block resemble each other. Where blocks differ by more than chance allows, they are
    worth as many fewer tries (a quasi-binomial model: McCullagh and Nelder 1989, 4.5).
    """
    held, tries = (sum(part[side] for part in parts) for side in (0, 1))
    if not tries:
        return None
    p = held / tries
    spread = 1.0
    blocks = [(x, n) for x, n in parts if n]
    if len(blocks) > 1 and 0 < p < 1:
        chi = sum((x - n * p) ** 2 / (n * p * (1 - p)) for x, n in blocks)
        spread = max(1.0, chi / (len(blocks) - 1))
    n = tries / spread
    z = float(special.ndtri((1 + CONFIDENCE) / 2))
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low = middle - reach if held else 0.0
    high = middle + reach if held < tries else 1.0
    return Share(held, tries, low, high)


class Evidence:
    """The data of a run that one claim looks at.

    ratios  by the name of its comparison; those without a block in common are left out
    """

    def __init__(self, claim: Claim, run: Run, ratios: Mapping[str, rule.Claim]) -> None:
        self.claim, self.run, self._ratios = claim, run, ratios
        self._watched = claim.watches()

    def ratio(self, name: str) -> rule.Claim | None:
        """What may be said of a comparison; None where it was not measured."""
        return self._ratios.get(name)

    def kind(self, name: str) -> str:
        """ "faster", "slower", "equal", "unresolved", or "missing" """
        found = self.ratio(name)
        return found.kind if found else "missing"

    def times(self, name: str) -> str:
        """ "1.32 [1.27, 1.36]", and whether the rule of 3 % decides; "not measured" """
        found = self.ratio(name)
        if found is None:
            return "(not measured)"
        if found.n < MINIMUM_BLOCKS:
            return interval(of_claim(found))
        words = {"equal": " (equal within 3 %)", "unresolved": " (not resolved)"}
        return f"{interval(of_claim(found))}{words.get(found.kind, '')}"

    def cell(self, name: str) -> CellData | None:
        """A cell that it watches; None where there is no valid trial of it."""
        data = measured(self.run, self._watched[name])
        return data if data and data.valid else None

    def figure_of(self, name: str, metric: Callable[[Record], float | None]) -> Estimate | None:
        """A figure of a cell that it watches, over blocks."""
        data = self.cell(name)
        return data.over_blocks(metric) if data else None

    def seen(self) -> list[Seen]:
        """What its program saw, block by block; of valid trials."""
        data = measured(self.run, cells.demonstration(self.claim.name))
        found = [record["observation"] for record in data.valid] if data else []
        return [each["seen"] for each in found if each]

    def share(self, case: str) -> Share | None:
        """In how many of all tries of a case it held; None without a try."""
        return share(
            [
                (int(seen.get(f"held_{case}") or 0), int(seen.get(f"tries_{case}") or 0))
                for seen in self.seen()
            ]
        )

    def figure(self, name: str) -> Estimate | None:
        """A number that its program saw, over blocks; None where it saw none."""
        values = [seen.get(name) for seen in self.seen()]
        return estimate([float(value) for value in values if isinstance(value, int | float)])

    def text(self, name: str) -> str:
        """A text that its program wrote, of the first block that has one."""
        values = [seen.get(name) for seen in self.seen()]
        return next((value for value in values if isinstance(value, str)), "")

    def verdict(self) -> Verdict:
        """What the data decide."""
        return self.claim.verdict(self)

    def as_record(self) -> dict[str, object]:
        """For JSON: the verdict, the ratios that decide (from too few blocks there is no interval:
        its ends are null), and what the program saw, block by block."""
        verdict = self.verdict()
        return {
            "claim": self.claim.name,
            "says": self.claim.says,
            "verdict": verdict.kind,
            "on": verdict.on,
            "sentence": verdict.sentence,
            "ratios": {
                name: {
                    "ratio": found.ratio,
                    "low": found.low if found.n >= MINIMUM_BLOCKS else None,
                    "high": found.high if found.n >= MINIMUM_BLOCKS else None,
                    "claim": found.kind,
                }
                for name, found in self._ratios.items()
            },
            "seen": self.seen(),
        }


def measured(run: Run, cell: Cell) -> CellData | None:
    """The trials of a cell, under the lab's interpreter or, in a run under others, the first of
    them; None where there are none."""
    pythons = dict.fromkeys((None, *(data.cell.python for data in run.cells.values())))
    found = (run.cells.get(replace(cell, python=python).id) for python in pythons)
    return next((data for data in found if data), None)


def of_run(run: Run, claims: Sequence[Claim]) -> list[Evidence]:
    """What a run has to say of each. All their ratios are claimed together (Holm,
    `rule.headlines`): the chance that any of them is wrong is 5 %."""
    found = {
        (claim.name, name): told
        for claim in claims
        for name, compared in claim.compares().items()
        if (told := _compared(run, compared))
    }
    resolved = dict(zip(found, rule.headlines(list(found.values())), strict=True))
    return [
        Evidence(
            claim,
            run,
            {name: told for (owner, name), told in resolved.items() if owner == claim.name},
        )
        for claim in claims
    ]


def _compared(run: Run, wanted: Compared) -> rule.Claim | None:
    one, other = (measured(run, cell) for cell in (wanted.one, wanted.other))
    if one is None or other is None:
        return None
    found = ratio(one.compared, other.compared, wanted.metric)
    return rule.claim(found.logs, more_is_faster=_is_rate(wanted.metric)) if found else None


def _is_rate(metric: Metric) -> bool:
    return metric.unit == "per_s"


def cells_of(claims: Sequence[Claim]) -> list[Cell]:
    """All that has to be measured in the experiment `claims` for these."""
    found: list[Cell] = []
    for claim in claims:
        for compared in claim.compares().values():
            found += [compared.other, compared.one]
        found += claim.watches().values()
        if claim.program:
            found.append(cells.demonstration(claim.name))
    return cells.with_reference([cell for cell in found if cell.experiment == cells.EXPERIMENT])
