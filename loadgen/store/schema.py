"""The form of everything that a run stores, schema 6: `run.json` and the lines of `trials.jsonl`.

Names carry their units, and what was not measured is null, never absent. A record has exactly the
fields that stand here: whoever adds or renames a column does it here, with its meaning, raises
SCHEMA, and adds the step from the form before to upgrade.py. results/README.md lists what stands
here, and a test holds the two equal.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

# Pydantic cannot read typing.TypedDict before Python 3.12.
from typing_extensions import TypedDict

SCHEMA: Literal[6] = 6

Outcome = Literal["measured", "crashed"]
Bottleneck = Literal["server", "generator", "wake-up", "offered", "model", "unknown"]
Latency = Literal["response", "service", "greeting"]
Heap = Literal["system", "fixed", "kept"]
Stamps = Literal["kernel", "generator"]

# As JSON has them: 1.0 is a number like 1, but 1 is no truth value, and no field is unknown.
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Cell(TypedDict):
    """What is measured again in every block."""

    experiment: Annotated[str, "the question; `run` or `trace` outside of a bench"]
    server: Annotated[str, "the name in the catalog, or the address of somebody else's server"]
    workload: Annotated[
        dict[str, str | int | float | None],
        "`method` and its fields: see loadgen/trial/methods, one file each",
    ]
    options: Annotated[list[str], "further words of the server's command line"]
    python: Annotated[str | None, "the server's interpreter, as named; null: that of the lab"]
    heap: Annotated[Heap, "how the C library's is set: see loadgen/target/process.py"]
    replica: Annotated[int, "0; 1 is the same once more under another name, to be told apart"]


class Server(TypedDict):
    """The program that answered."""

    name: str
    family: Annotated[str | None, "the group of its model; null where somebody else started it"]
    python: Annotated[str | None, "the interpreter"]
    implementation: Annotated[str | None, "of Python, with its version: CPython 3.13.5"]
    gil: Annotated[bool | None, "did one thread at a time run Python? null: not known"]
    command: Annotated[list[str] | None, "its command line, if it got that far"]


class Counts(TypedDict):
    """Requests by what became of them; `scheduled` is the sum of the others."""

    scheduled: int
    ok: Annotated[int, "answered, every byte as it has to be"]
    mismatched: Annotated[int, "answered otherwise"]
    error: Annotated[int, "their connection failed"]
    timed_out: Annotated[int, "not answered by the end of the drain"]


class Window(TypedDict):
    """What happened between the two edges of the window, to requests of the warm-up too."""

    answered: Annotated[int, "right answers that arrived in it, whenever they were due"]
    open_at_start: Annotated[int, "requests that were due and not answered when it began"]
    open_at_end: Annotated[int, "the same when it ended"]
    fewest_open_first_half: Annotated[int, "the fewest at any moment of its first half"]
    fewest_open_second_half: int
    backlog_growth_per_s: Annotated[float, "by how much the fewest grew, from half to half"]
    silence_ns: Annotated[
        int, "nobody was answered from then to the end of the drain; 0: all were answered"
    ]


class Connections(TypedDict):
    """Clients of the trial, those that only wait included."""

    attempted: int
    due: Annotated[int, "of those attempted, how many the model serves by its design"]
    limit: Annotated[str | None, "why not all of them, in words"]
    greeted: int
    failed: Annotated[dict[str, int], "how many were not greeted, by reason"]
    active: Annotated[int | None, "those greeted that send requests"]
    slow_sent_bytes: Annotated[int | None, "what the server's side took from slow clients"]
    lost: Annotated[dict[str, int] | None, "greeted connections that failed later, by reason"]
    unanswered: Annotated[
        int | None, "closed loop: those that waited through the whole window for one answer"
    ]


class Summary(TypedDict):
    """Nanoseconds. A percentile is null when fewer than ten samples lie beyond it."""

    n: int
    mean: float | None
    min: int | None
    p50: int | None
    p90: int | None
    p99: int | None
    p99_9: int | None
    max: int | None
    censored: Annotated[int, "requests that were never answered: larger than all others"]
    at_least: Annotated[dict[str, int], "percentiles that fall among the censored"]


class Latencies(TypedDict):
    """By kind; null where there is nothing of the kind."""

    response: Annotated[Summary | None, "arrived - intended (open loop)"]
    service: Annotated[Summary | None, "arrived - sent - the generator's own send path"]
    greeting: Annotated[Summary | None, "greeted - just before connect()"]


class Histograms(TypedDict):
    """HDR V2, base64, of the same kinds; all percentiles are derived from them."""

    response: str | None
    service: str | None
    greeting: str | None


class Overlap(TypedDict):
    """Closed loop: how far requests do not match the window, summed over clients; ns."""

    start_ns: Annotated[int, "in the window, before the first request that was sent in it"]
    end_ns: Annotated[int, "beyond the window, until the last request sent in it was answered"]


class SendPath(TypedDict):
    """From `sent` until a request left, by the kernel's stamps of some; ns."""

    n: Annotated[int, "requests of the drive that were stamped"]
    p50: Annotated[int, "taken off the service time of all others"]
    max: int
    subtracted: Annotated[int, "taken off the service times of the ok answers, all together"]


class Generator(TypedDict):
    """What the generator says of itself."""

    cpu_fraction: Annotated[float, "of the window, how much it had its CPU"]
    busy_fraction: Annotated[float, "of the window, what it did not spend asking in vain for work"]
    send_lag_ns: Annotated[Summary, "sent - intended"]
    read_delay_ns: Annotated[Summary, "read - arrived"]
    overlap_ns: Annotated[Overlap | None, "where a client sends again as it reads"]
    stamps: Annotated[
        Stamps, "who says when an answer arrived; generator: this transport has no kernel stamps"
    ]
    unstamped: Annotated[int, "answers without a kernel stamp: arrived is read for them"]
    full: Annotated[bool, "ended early, for want of room for stamps"]
    send_path_ns: Annotated[SendPath | None, "null: no such stamps here, and nothing subtracted"]
    realtime: Annotated[bool, "its thread had a real-time priority: short open loops"]
    longest_gap_ns: Annotated[int | None, "between two looks at the clock; null: it did not spin"]


class Usage(TypedDict):
    """What the whole process tree of the server has used so far, and what it holds."""

    user_s: float
    system_s: float
    processes: int
    threads: int
    rss_bytes: int
    pss_bytes: Annotated[int | None, "null where the kernel does not tell"]
    fds: int
    voluntary_switches: int
    involuntary_switches: int


class ServerCost(Usage):
    """The same over the drive, of a search over all of its drives: times and switches are
    differences."""

    cpu_us_per_request: Annotated[float | None, "CPU time over the window, per ok answer"]
    cpu_fraction: Annotated[float, "of one core, between the readings of the CPU clocks"]
    watched_s: Annotated[float, "between the readings of the CPU clocks"]
    drive_requests: Annotated[int, "of the whole drive, warm-up included"]


class Pauses(TypedDict):
    """How much longer than asked a meter slept; ns."""

    n: int
    p50: int | None
    p90: int | None
    p99: int | None
    max: int | None


class Hiccups(TypedDict):
    """Pauses of the machine, watched on both CPUs."""

    realtime: Annotated[bool, "false: the meter also waited for its turn"]
    server_cpu: Pauses
    generator_cpu: Pauses


class Machine(TypedDict):
    """How the machine behaved meanwhile."""

    steal_fraction: Annotated[float | None, "of the pinned CPUs' time, taken by the hypervisor"]
    server_cpu_busy: Annotated[float | None, "of the server's CPU, all programs"]
    generator_cpu_busy: float | None
    listen_overflows: Annotated[int, "connections dropped by a full backlog, whole machine"]
    listener_drops: Annotated[
        int | None, "connections that the server's own listener dropped; null: not known"
    ]
    retransmits: Annotated[int, "TCP segments sent again, whole machine, probes left out"]
    server_cpus: list[int]
    generator_cpus: list[int]
    shared: Annotated[bool, "one CPU for both"]
    clock_drift_ns: Annotated[
        int | None, "CLOCK_REALTIME against CLOCK_MONOTONIC, from before anybody connected"
    ]
    hiccup_ns: Annotated[Hiccups | None, "null where nobody drives connections that stay"]


class Fairness(TypedDict):
    """How the ok answers were shared out, without the greedy client, if there is one."""

    jain: Annotated[float, "Jain's index: 1 when all get the same"]
    slowest_share: Annotated[float, "of all answers"]
    fastest_share: float
    greedy_share: float | None


class Footprint(TypedDict):
    """What the server holds for those connected, before any of them asks."""

    empty: Usage
    connected: Usage
    slab_bytes: Annotated[int, "the kernel's own objects, whole machine"]
    socket_buffer_bytes: Annotated[int, "TCP's data under way, whole machine"]


class Probe(TypedDict):
    """One rate that a search tried."""

    offered_per_s: float
    achieved: Annotated[float, "share of the rate that was answered while it was offered"]
    p99_ns: Annotated[float | None, "of the response time"]
    send_lag_p99_ns: float | None
    service_p99_ns: float | None
    busy_fraction: Annotated[float, "of the generator"]


class Knee(TypedDict):
    """The largest rate that was kept, and the way to it."""

    rate_per_s: float
    limit_ns: Annotated[float, "what p99 of the response time must not exceed"]
    probes: list[Probe]


class TimelineRequest(TypedDict):
    """ns since the first client connected."""

    sent_ns: Annotated[int, "it began to be sent"]
    complete_ns: Annotated[int, "all of it was sent"]
    arrived_ns: Annotated[int, "the kernel had all of the answer"]


class ClientTimeline(TypedDict):
    """What one client did and saw; ns since the first of all connected; 0: never."""

    connect_ns: int
    greeted_ns: int
    left_ns: int
    requests: Annotated[list[TimelineRequest], "those that were answered right"]
    mismatched: int
    failure: str | None


class Timeline(TypedDict):
    """Every step of a few clients, in the order they came."""

    clients: list[ClientTimeline]


class CallRun(TypedDict):
    """The same system call, several times in a row."""

    call: str
    times: int


class SystemCalls(TypedDict):
    """What strace counted."""

    requests: int
    per_request: dict[str, float]
    total: Annotated[float, "per request"]
    sequence: Annotated[list[CallRun], "of a request of median length"]


class Death(TypedDict):
    """What became of clients when one of the workers that share them was stopped, and then killed.

    Newcomers are those that came while it was stopped.
    """

    clients: Annotated[list[int], "connections of each worker; first those of the one killed"]
    lost: Annotated[int, "clients whose connection broke with it"]
    newcomers: int
    greeted: Annotated[int, "of them, while it was stopped"]
    greeted_later: Annotated[int, "and after it had died"]
    broken: Annotated[int, "newcomers whose connection broke with it"]


class Datagrams(TypedDict):
    """What became of datagrams, of which none is sent again; `sent` is answered + lost + late."""

    sent: Annotated[int, "in the window"]
    answered: Annotated[int, "in time, and right"]
    lost: Annotated[int, "not answered by the end of the drain"]
    late: Annotated[int, "answered when the client had given them up"]
    duplicated: Annotated[int, "answers to what had been answered before"]
    reordered: Annotated[int, "answers that came after that to a later request of their client"]
    dropped: Annotated[
        int | None,
        "by the kernel in the whole trial, for want of room before the server; null: not known",
    ]


class Reaping(TypedDict):
    """What became of clients that said nothing for longer than the server's time-out."""

    silent: Annotated[int, "clients that were greeted and then said nothing"]
    told: Annotated[int, "of them, how many were told so, and closed"]
    lateness_ns: Annotated[Summary | None, "from when it was due until they were told"]


class Observation(TypedDict):
    """What a small program of a claim saw: see loadgen/claims."""

    claim: str
    seen: Annotated[dict[str, int | float | str | None], "by name, the unit in the name"]


class Slices(TypedDict):
    """What happened in its slices, an element per round; null where a server that had failed was
    not driven any more."""

    together: Annotated[int, "servers that were alive at once, and are compared by rounds"]
    settle_ns: Annotated[int, "before each slice, at least; counts for nothing"]
    turn: Annotated[list[int | None], "when in its round: 0 is first"]
    start_ns: Annotated[list[int | None], "of the slice, since `started_at`"]
    length_ns: Annotated[list[int | None], "of the slice"]
    answers: Annotated[list[int | None], "ok, and arrived within the slice"]
    span_ns: Annotated[list[int | None], "what they took: since the last answer before the slice"]
    drive_answers: Annotated[list[int | None], "ok, settling and drain included"]
    cpu_ns: Annotated[list[int | None], "of the server, settling and drain included"]
    p50_ns: Annotated[list[int | None], "of the response time in open loop, else service time"]
    p99_ns: list[int | None]
    others_cpu_ns: Annotated[list[int | None], "of the other servers meanwhile"]
    pause_ns: Annotated[list[int | None], "the longest of the generator"]
    crowded: Annotated[
        list[bool | None], "others wanted the server's CPU just before or just after"
    ]
    void: Annotated[list[str | None], "why the round is excluded, for every server"]


class Verdict(TypedDict):
    """May the trial be believed, and what kept the throughput from being higher?"""

    valid: bool
    overloaded: Annotated[
        bool | None, "more was offered than was answered; null: no rate was offered, or not known"
    ]
    bottleneck: Bottleneck
    reasons: list[str]


@with_config(_STRICT)
class Record(TypedDict):
    """One trial: one line of `trials.jsonl`."""

    schema: Literal[6]
    cell: Cell
    block: int
    position: Annotated[int, "within the order of its block"]
    retries: Annotated[
        int | None, "a block with a trial that did not count, measured again in this one; null: due"
    ]
    started_at: Annotated[str, "UTC, ISO 8601"]
    seed: Annotated[int, "of the schedule: the run's plus the block"]
    outcome: Outcome
    failure: Annotated[str | None, "of a crashed one, in one line"]
    server: Server
    offered_per_s: Annotated[float | None, "open loop: what was asked of the server"]
    counts: Annotated[Counts, "of requests that were due in the window"]
    warmup: Annotated[Counts | None, "of those that were due before; null: nobody counted"]
    window: Annotated[Window | None, "null where there is none, or nobody counted"]
    connections: Connections
    throughput_per_s: Annotated[
        float | None, "right answers that arrived in the window, per second"
    ]
    latency_ns: Latencies
    histograms: Histograms
    generator: Generator | None
    server_cost: ServerCost | None
    machine: Machine | None
    fairness: Fairness | None
    footprint: Footprint | None
    knee: Knee | None
    timeline: Timeline | None
    system_calls: SystemCalls | None
    death: Annotated[Death | None, "of a server of which a worker was killed"]
    datagrams: Annotated[Datagrams | None, "of a server without connections"]
    reaping: Annotated[Reaping | None, "of a server that lets silent clients go"]
    observation: Annotated[Observation | None, "of a claim that no method here can try"]
    slices: Annotated[Slices | None, "of a server that was measured together with others"]
    verdict: Verdict
    sha256: Annotated[str, "of the line before and of this one; empty until it is stored"]


class Skip(TypedDict):
    """A cell that was not run."""

    cell: Cell
    reason: str


class Plan(TypedDict):
    """What the run was going to do."""

    experiments: list[str]
    servers: list[str]
    blocks: Annotated[int, "cells measured by slices are measured at least this often"]
    trials: Annotated[int, "and the others, each in a trial of its own"]
    extra_time: Annotated[float, "what more blocks of wide cells may take, as a share of the rest"]
    cells: list[Cell]
    skipped: list[Skip]
    precision: Annotated[
        float | None, "of a duel: half the width, relative, at which its ratios are decided"
    ]
    pythons: Annotated[list[str], "interpreters named for the servers; none: that of the lab"]


class Model(TypedDict):
    """A line of the catalog, as it was."""

    name: str
    family: str
    idea: str
    waits: str
    cost: str
    breaks: str
    colour: str
    marker: Annotated[str, "as Matplotlib names them"]
    sleeps: Annotated[bool, "uses no CPU while nothing happens"]


class Calibration(TypedDict):
    """What the generator reached against a peer that does almost nothing."""

    connections: int
    throughput_per_s: float
    busy_fraction: float
    cpu_fraction: float
    bottleneck: Literal["generator", "peer"]


class Descriptors(TypedDict):
    """RLIMIT_NOFILE; -1: none."""

    soft: int
    hard: int


class Environment(TypedDict):
    """The machine; what it does not tell is null."""

    system: str
    kernel: str
    architecture: str
    python: Annotated[str, "that of the generator"]
    cpu: str | None
    cpus: Annotated[int, "that this process may use"]
    hypervisor: bool
    memory_bytes: int
    governor: str | None
    somaxconn: str | None
    port_range: str | None
    congestion_control: Annotated[str | None, "of servers; clients take reno where it is bbr"]
    tcp_rmem: str | None
    tcp_wmem: str | None
    descriptors: Descriptors
    load_1min: float
    server_cpus: list[int]
    generator_cpus: list[int]
    shared: Annotated[bool, "one CPU for both"]


@with_config(_STRICT)
class Header(TypedDict):
    """`run.json`: written once, before the first trial."""

    schema: Literal[6]
    created_at: str
    profile: str
    name: Annotated[str | None, "given by whoever measured, as is the next"]
    note: str | None
    seed: int
    plan: Plan
    catalog: Annotated[list[Model], "how the models are shown, in their order"]
    sources: Annotated[dict[str, str], "file in `servers/` beside this one: its SHA-256"]
    calibration: list[Calibration]
    environment: Environment
    versions: Annotated[dict[str, str], "of the libraries that figures depend on"]
    git_commit: Annotated[str | None, "of the lab"]


_RECORD: TypeAdapter[Record] = TypeAdapter(Record)
_HEADER: TypeAdapter[Header] = TypeAdapter(Header)


def record(value: object) -> Record:
    """Parsed JSON as a record. Raises ValueError: the first field that does not fit, in a line."""
    return cast(Record, _checked(_RECORD, value))


def header(value: object) -> Header:
    """Parsed JSON as a header. Raises ValueError as `record` does."""
    return cast(Header, _checked(_HEADER, value))


def _checked(form: TypeAdapter[Any], value: object) -> Mapping[str, Any]:
    try:
        form.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # Of a union pydantic names the branch too.
        where = ".".join(str(part) for part in first["loc"] if part not in ("str", "int", "float"))
        raise ValueError(f"{where or 'it'}: {first['msg'][0].lower()}{first['msg'][1:]}") from error
    return cast(Mapping[str, Any], value)
