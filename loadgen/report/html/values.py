"""What the page shows beside the sections of a report: values, without a word about how."""

from dataclasses import dataclass

from loadgen.report.figure import Panel, Report


@dataclass(frozen=True)
class Cost:
    """One line of a cost card.

    label   what it is, and under which load
    value   in words, with its interval; empty where this run does not know
    source  the experiment that it comes from
    """

    label: str
    value: str
    source: str = ""


@dataclass(frozen=True)
class Card:
    """A model of a run.

    serves  what the run saw of its end: with how many clients, and why
    calls   the system calls of one request, in order, with how often each is made in a row
    lane    who waited for whom; None where this run has no timeline of it
    """

    name: str
    family: str
    idea: str
    waits: str
    breaks: str
    colour: str
    costs: tuple[Cost, ...]
    serves: tuple[str, ...] = ()
    calls: tuple[tuple[str, int], ...] = ()
    lane: Panel | None = None
    key: Panel | None = None


@dataclass(frozen=True)
class Measure:
    """One figure of all models under one load, and its ratios between any two.

    values   model => in words, with its interval
    ratios   (one, other) => ratio, lower and upper end, kind of the claim; in this order only
    """

    label: str
    values: dict[str, str]
    ratios: dict[tuple[str, str], tuple[float, float, float, str]]


@dataclass(frozen=True)
class Place:
    """A server in a situation: what it did, and how it stands to the best, in words."""

    server: str
    value: str
    against_best: str
    tied: bool


@dataclass(frozen=True)
class Situation:
    """A load that was measured, and who came out best under it.

    busy, silent    clients
    work            what an answer costs besides: "none", "cpu" or "sleep"
    connects        a new connection for every request
    several_cores   the server had more than one CPU
    words           the same for people
    places          from the best to the worst; those tied with the best are said to be
    left_out        who is not compared, and why
    caveats         what the best cost besides, a sentence each
    """

    name: str
    experiment: str
    busy: int
    silent: int
    work: str
    connects: bool
    several_cores: bool
    words: str
    places: tuple[Place, ...]
    left_out: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stop:
    """A stop of the guided tour.

    beside    the model whose film is shown beside its own; empty for none
    question  to be answered before the film is seen
    look      what the film shows, and why
    measured  what the run says: (what, figures in words)
    """

    server: str
    beside: str
    question: str
    look: str
    measured: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Book:
    """Everything that the page of a run shows.

    decided, ties, undecided   the headlines by what came out, a sentence each
    glance        what a reader asks first: (question, answer, where on the page)
    uncontrolled  of the machine: what may have moved figures
    invalid       trials that do not count, and why, a line each
    measured_in   server => names of the sections that have something of it
    """

    report: Report
    decided: tuple[str, ...]
    ties: tuple[str, ...]
    undecided: tuple[str, ...]
    glance: tuple[tuple[str, str, str], ...]
    machine: str
    uncontrolled: tuple[str, ...]
    invalid: tuple[str, ...]
    cards: tuple[Card, ...]
    measures: tuple[Measure, ...]
    situations: tuple[Situation, ...]
    tour: tuple[Stop, ...]
    measured_in: dict[str, tuple[str, ...]]
