"""The guided tour: the models in the order in which they grow out of each other; at each a question
to answer first, what its film shows, and what a run measured of it."""

from dataclasses import dataclass

from loadgen.analysis.run import Run
from loadgen.experiments import cards
from loadgen.experiments.tools import times
from loadgen.report.html.values import Stop


@dataclass(frozen=True)
class Step:
    """A model of the tour.

    server    whose film is shown
    beside    whose film is shown beside it, on the same clock; empty for none
    question  to be answered before the film
    look      what the film shows, and why; no figures: those come from the run
    measured  the beginnings of labels of figures (cards.wanted) that answer it
    """

    server: str
    beside: str
    question: str
    look: str
    measured: tuple[str, ...]


RATE, CPU, P99 = "requests per second, ", "CPU per request", "service time p99"
SILENT, CHURN, MEMORY = "requests per second beside", "conversations", "memory per connection"
ASLEEP, CALLS = "CPU while nothing happens", "system calls per request"

STEPS = (
    Step(
        "blocking",
        "",
        "What will the other clients see while client 1 stops in the middle of its line?",
        "Nothing, not even a greeting: the server sits in one recv() until client 1 goes on, and"
        " the kernel keeps the others in the backlog.",
        (CALLS, RATE),
    ),
    Step(
        "threaded",
        "blocking",
        "The code is nearly the same. What has to be new, so that nobody waits for client 1?",
        "Each client has a thread, and each thread sleeps in a recv() of its own. All clients are"
        " greeted at once. What costs is that threads are started, and have to be switched.",
        (RATE, CPU, MEMORY, CHURN),
    ),
    Step(
        "nonblocking",
        "threaded",
        "One thread, and no call that waits. What does it do while nobody says anything?",
        "It asks every socket in turn and is told EAGAIN, again and again: it never sleeps, so it"
        " hears at once, and uses a whole core for it.",
        (ASLEEP, RATE),
    ),
    Step(
        "select",
        "nonblocking",
        "It sleeps in one call until something happens. Which clients does it name in that call?",
        "All of them, every time, as bits in a set that ends at descriptor 1,023. It sleeps in"
        " select(), and afterwards it touches only those that are ready.",
        (ASLEEP, RATE, SILENT),
    ),
    Step(
        "poll",
        "select",
        "A list instead of a set of bits. What gets better, and what does not?",
        "There is no highest descriptor any more. But the whole list is still handed over at every"
        " call, and the kernel looks at every client of it, silent ones too.",
        (RATE, SILENT),
    ),
    Step(
        "epoll",
        "poll",
        "When is a client named to the kernel, and when does the kernel name it back?",
        "epoll_ctl() names each client once, when it comes. epoll_wait() names nobody, and brings"
        " back those that are ready and no others: so silent clients cost nothing.",
        (RATE, SILENT, CALLS),
    ),
    Step(
        "epoll_et",
        "epoll",
        "It is told only that something is new (edge-triggered). How does it know that it has read"
        " everything?",
        "It reads until EAGAIN says so: one more system call for every batch of requests.",
        (CALLS, RATE, CPU),
    ),
    Step(
        "selectors",
        "epoll",
        "The standard library chooses the call. Which one has it found here, and what is lost?",
        "It makes the same system calls as epoll. What is added happens in Python: an object for"
        " each socket that is ready.",
        (RATE, CPU),
    ),
    Step(
        "sigio",
        "nonblocking",
        "A signal says that something has happened, but not to whom. What has to follow?",
        "It sleeps in rt_sigtimedwait(), and then asks every client, as the busy loop does.",
        (ASLEEP, RATE, CALLS),
    ),
    Step(
        "threadpool",
        "threaded",
        "The threads are there before the clients. What happens to client 17, with 16 threads?",
        "Every thread sleeps in accept(). Three clients take three of them, and one thread serves"
        " one client until it leaves: who finds no thread waits in the backlog.",
        (RATE, CHURN),
    ),
    Step(
        "socketserver",
        "threaded",
        "The loop has moved into the standard library. Does it wait otherwise?",
        "No: a thread for each client, and each sleeps in recv(). New is a poll() before accept().",
        (RATE, CHURN),
    ),
    Step(
        "epoll_threads",
        "epoll",
        "One thread talks, others work out the answers. What does it cost when there is no work?",
        "Every line goes to another thread and back, and a byte through a pipe wakes the loop up.",
        (RATE, CPU),
    ),
    Step(
        "fork",
        "threaded",
        "A process instead of a thread. What do two clients still share?",
        "Nothing but the listener's queue: each child has memory of its own, and the parent hears"
        " of its end by SIGCHLD.",
        (RATE, CPU, CHURN),
    ),
    Step(
        "prefork",
        "epoll",
        "Several processes wait on one listener. Who is woken up when a client comes?",
        "More than one may be: who comes too late finds nobody (EAGAIN). The kernel does not care"
        " how many clients each of them has.",
        (RATE, CPU),
    ),
    Step(
        "reuseport",
        "prefork",
        "Each process has a listener of its own on the same port. Who chooses between them?",
        "The kernel does, by a hash of the addresses: nobody is woken up for nothing, and nobody"
        " takes over from one that is busy.",
        (RATE, CPU),
    ),
    Step(
        "asyncio",
        "epoll",
        "Where has epoll_wait() gone?",
        "Into the loop of the library, which calls the protocol back with what it has received. The"
        " system calls are those of epoll; the rest is Python between them.",
        (RATE, CPU, P99),
    ),
    Step(
        "asyncio_buffered",
        "asyncio",
        "Who owns the memory into which the kernel writes what has arrived?",
        "The protocol does, and the same piece each time: recv_into() instead of a recv() of 256"
        " KiB that has to be allocated.",
        (RATE, CPU),
    ),
    Step(
        "asyncio_streams",
        "asyncio",
        "It reads like the blocking server, line after line. What waits instead of a thread?",
        "A task: `await` gives the turn back to the loop, and the loop resumes the task later. Each"
        " request costs such a turn.",
        (RATE, CPU, P99),
    ),
    Step(
        "uvloop",
        "asyncio",
        "The same file on another loop. Which lines differ?",
        "One: the loop is libuv, in C. Between two system calls less Python is run.",
        (RATE, CPU),
    ),
    Step(
        "gevent",
        "threaded",
        "It looks like threads, and there is one thread. What happens in recv()?",
        "The socket is tried first, and only when it has nothing the greenlet is put aside and"
        " another one goes on. epoll_wait(), inside libev, waits for all of them.",
        (RATE, CPU, MEMORY),
    ),
    Step(
        "trio",
        "asyncio_streams",
        "Every task belongs to a nursery. What does that cost a request?",
        "Checkpoints: at each `await` a task may be cancelled, and lets others go on.",
        (RATE, CPU),
    ),
    Step(
        "io_uring",
        "epoll",
        "It does not ask who is ready. What does it hand the kernel instead?",
        "What is to be done: accept, receive, send. One io_uring_enter() hands over all that is due"
        " and sleeps until some of it is done; the requests themselves stand in shared memory.",
        (CALLS, RATE, CPU),
    ),
)


def stops(run: Run) -> tuple[Stop, ...]:
    """The tour with what this run measured, in words; a model that the run does not know has its
    question all the same."""
    figures = cards.wanted(run)
    return tuple(
        Stop(
            step.server,
            step.beside,
            step.question,
            step.look,
            tuple(
                _answer(each, step.server, step.beside)
                for start in step.measured
                for each in figures
                if each.label.startswith(start) and cards.told(each, step.server)
            ),
        )
        for step in STEPS
    )


def _answer(each: cards.Wanted, server: str, beside: str) -> tuple[str, str]:
    """A figure of one or two models, and how many times as large the first one's is."""
    said = [
        f"{name} {told}"
        for name in dict.fromkeys((server, beside))
        if (told := cards.told(each, name))
    ]
    if cards.ratio(each, server, beside):
        told = times(each.cells[server], each.cells[beside], each.metric)
        said.append(f"{server} : {beside} is {told}")
    return each.label, "; ".join(said)
