"""What tutorials say of sockets, put to the test, claim by claim.

A reader learns which of the sentences that everybody repeats are true here, which are not, and on
what the others depend. Each claim is a file of its own in loadgen/claims; this experiment measures
for all of them at once, so that their servers take turns with each other.
"""

from collections.abc import Sequence

from loadgen import claims
from loadgen.analysis.run import Run
from loadgen.claims import cells as shared
from loadgen.claims import evidence
from loadgen.claims.claim import Claim
from loadgen.claims.evidence import Evidence, Share
from loadgen.experiments.tools import dot_panel, measured_by
from loadgen.plan.plan import Profile
from loadgen.report.figure import Figure, Panel, Point, Series, Tested
from loadgen.report.words import counted
from loadgen.store.metric import throughput
from loadgen.trial.cell import Cell
from loadgen.trial.methods import Slices
from servers.catalog import Model

NAME = "claims"
QUESTION = "Which of the sentences that tutorials repeat are true here?"
HYPOTHESIS = (
    "Most of them were true of some machine, some load or some language. What is always said of"
    " TCP's messages is not, because TCP has none."
)
HOW_TO_READ = (
    "Lines are sent over one connection, and each recv() is taken for a message: so many of them"
    " did not come alone and whole. Bars are 95 % confidence intervals. The busy receiver does"
    " something else for 0.25 s with each that it gets; the last two look for the end of a message"
    " by themselves."
)

STICKING = (
    ("no_pause", "no pause"),
    ("1ms", "1 ms between sends"),
    ("10ms", "10 ms"),
    ("100ms", "0.1 s"),
    ("100ms_busy", "0.1 s, busy receiver"),
    ("delimiter", "no pause, delimiter"),
    ("length", "no pause, length in front"),
)


def cells(profile: Profile, servers: Sequence[Model]) -> list[Cell]:
    """What the claims need, of these servers."""
    del profile  # claims have one size
    names = {model.name for model in servers}
    return [cell for cell in evidence.cells_of(all_claims()) if cell.server in names]


def all_claims() -> list[Claim]:
    """As the page shows them."""
    return [claims.find(name) for name in claims.ALL]


def found(run: Run) -> list[Evidence]:
    """What a run has to say of each claim; nothing where it has not asked."""
    return evidence.of_run(run, all_claims()) if run.of(NAME) else []


def tested(run: Run) -> tuple[Tested, ...]:
    """The same as a page shows it."""
    return tuple(
        Tested(
            name=each.claim.name,
            says=each.claim.says,
            tried=each.claim.tried,
            verdict=str(verdict := each.verdict()),
            sentence=verdict.sentence,
            why=each.claim.why,
            source=each.claim.source,
        )
        for each in found(run)
    )


def figures(run: Run) -> list[Figure]:
    """How often messages stick together, and what servers answer."""
    found = Evidence(claims.find("sticking"), run, {})
    rows = tuple(
        Series(label, (_stuck(share.failed),), share.failed.percent)
        for case, label in STICKING
        if found.seen() and (share := found.share(case))
    )
    busy = {
        data.server: data
        for data, load in measured_by(run, NAME, Slices)
        if load == shared.BUSY and data.cell.heap == "system"
    }
    stuck = Panel("messages that did not come alone", "", rows, kind="dots", x_format="percent")
    answers = dot_panel("", "answers per second", busy, throughput, "number")
    drawn = (
        Figure("claims", "How often messages stick together", (stuck,), HOW_TO_READ),
        Figure(
            "claims-servers",
            f"The servers that tutorials compare, with {shared.BUSY_CLIENTS} busy clients",
            (answers,),
            "Clients send again as soon as they have been answered; further right is more answers.",
        ),
    )
    return [figure for figure in drawn if figure.panels[0].series]


def _stuck(share: Share) -> Point:
    return Point(0, 100 * share.held / share.tries, 100 * share.low, 100 * share.high)


def finding(run: Run) -> str:
    """How many claims are true."""
    verdicts = {each.claim.name: each.verdict() for each in found(run)}
    kinds = [verdict.kind for verdict in verdicts.values()]
    if set(kinds) == {"not decided"}:
        return "The data do not decide: none of the claims has enough of them."
    counts = ", ".join(
        f"{kinds.count(kind)} {words}"
        for kind, words in (
            ("true", "true"),
            ("it depends", "true or false depending on something"),
            ("false", "false"),
            ("not decided", "not decided"),
        )
        if kind in kinds
    )
    each = "; ".join(f"{name}: {verdict}" for name, verdict in verdicts.items())
    return f"Of {counted(len(kinds), 'claim')} {counts}. {each}."
