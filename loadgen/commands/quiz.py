"""python -m loadgen quiz: guess first, then see it measured on this machine."""

import argparse
import random
import sys
from typing import TYPE_CHECKING

from loadgen.commands import UsageError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loadgen.quiz.questions import Question
    from loadgen.quiz.score import Measured

HELP = "Guess how servers compare; each answer is measured here, in about ten seconds."

SESSION = 5
MEASURED_S = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which questions."""
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="names: see --list")
    parser.add_argument("--all", action="store_true", help=f"all of them (default: {SESSION})")
    parser.add_argument("--seed", type=int, help="of the choice and the order (default: chance)")
    parser.add_argument("--list", action="store_true", help="name the questions, and ask none")


def run(options: argparse.Namespace) -> int:
    """Ask, measure, tell. Raises UserError."""
    from loadgen.quiz.questions import QUESTIONS

    if options.list:
        for question in QUESTIONS:
            print(f"{question.name:12} {question.text}")
        return 0
    asked = _chosen(options)
    print("A ratio is asked for: 1 is the same, 0.5 half as much, 2 twice as much.")
    print("Return alone skips a question; Ctrl-D ends.")
    total = answered = 0
    for number, question in enumerate(asked, 1):
        print(f"\n{number}. {question.text}")
        guess = _guess()
        if guess is None:
            break
        if guess == 0:
            continue
        got = _tell(question, guess)
        if got is not None:
            total, answered = total + got, answered + 1
    from loadgen.quiz.score import MOST

    print(f"\n{total} of {MOST * answered} points for {answered} answered.")
    return 0


def _chosen(options: argparse.Namespace) -> "list[Question]":
    """Those named, all, or some. Raises UsageError."""
    from loadgen.quiz.questions import QUESTIONS, find
    from servers import catalog

    if options.questions:
        try:
            return [find(name) for name in options.questions]
        except KeyError as error:
            known = ", ".join(question.name for question in QUESTIONS)
            raise UsageError(f"unknown question {error.args[0]!r}; there are: {known}") from error
    runnable = [
        question
        for question in QUESTIONS
        if not any(
            catalog.find(each.split()[0]).missing() for each in (question.one, question.other)
        )
    ]
    random.Random(options.seed).shuffle(runnable)
    return runnable if options.all else runnable[:SESSION]


def _guess() -> float | None:
    """A number above 0; 0 to skip; None at the end."""
    while True:
        try:
            text = input("your guess: ").strip()
        except EOFError:
            return None
        if not text:
            return 0
        try:
            guess = float(text)
        except ValueError:
            guess = -1.0
        if 0 < guess < 1e6:
            return guess
        print("a number above 0, such as 0.8 or 3")


def _tell(question: "Question", guess: float) -> int | None:
    """Measure, and compare; the points, or None where nothing could be measured."""
    from loadgen.quiz.score import points

    print(f"measuring for about {MEASURED_S} s: {' '.join(command(question)[2:])}", flush=True)
    try:
        measured = measure(question)
    except UserError as error:
        print(f"not measured: {error}", file=sys.stderr)
        return None
    told = f"{measured.ratio:.3g}"
    if measured.low is not None and measured.high is not None:
        told += f" [{measured.low:.3g}, {measured.high:.3g}]"
    got = points(guess, measured)
    print(f"measured {told}, you said {guess:g}: {got} points")
    print(f"Why: {question.because} See {where(question)}.")
    return got


def command(question: "Question") -> list[str]:
    """The duel that answers it."""
    return [
        "-m",
        "loadgen",
        "duel",
        question.other,
        question.one,
        *question.load,
        "--time-limit",
        str(MEASURED_S),
        "--precision",
        "5%",
        "--json",
    ]


def measure(question: "Question") -> "Measured":
    """Let the two servers take turns on this machine. Raises UserError."""
    import json
    import subprocess
    import tempfile
    from pathlib import Path

    from loadgen.quiz.score import Measured

    with tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
        words = [sys.executable, *command(question), "--out", str(Path(folder, "run"))]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise UserError(done.stderr.strip().splitlines()[-1])
    wanted = "throughput" if question.figure == "answers" else "cpu"
    return _first(json.loads(done.stdout)["ratios"], wanted, Measured)


def _first(
    ratios: "Iterable[dict[str, object]]", wanted: str, make: "type[Measured]"
) -> "Measured":
    for each in ratios:
        if wanted in str(each["metric"]):
            return make(each["ratio"], each["low"], each["high"])  # type: ignore[arg-type]
    raise UserError("too few rounds were valid: is the machine busy?")


def where(question: "Question") -> str:
    """The line that is the reason, as file:line. Raises ValueError where there is none such."""
    from loadgen.target.interpreter import LAB

    for number, line in enumerate((LAB / question.file).read_text().splitlines(), 1):
        if question.line in line:
            return f"{question.file}:{number}"
    raise ValueError(f"{question.file} has no line {question.line!r}")
