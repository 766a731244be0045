"""python -m loadgen quiz: guess first, then see it measured on this machine."""

import argparse
import contextlib
import json
import random
import sys
from dataclasses import dataclass
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
    parser.add_argument(
        "--json", action="store_true", help="print what was asked, guessed and measured as JSON"
    )


def run(options: argparse.Namespace) -> int:
    """Ask, measure, tell. Raises UserError."""
    from loadgen.quiz.questions import QUESTIONS

    if options.list:
        if options.json:
            print(json.dumps({each.name: each.text for each in QUESTIONS}))
            return 0
        for question in QUESTIONS:
            print(f"{question.name:12} {question.text}")
        return 0
    asked = _chosen(options)
    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
        answers = _dialogue(asked)
    if options.json:
        print(json.dumps([each.as_record() for each in answers], allow_nan=False))
    return 0


@dataclass(frozen=True)
class Answer:
    """A question, what was guessed, and what came out."""

    question: "Question"
    guess: float
    measured: "Measured"

    @property
    def points(self) -> int:
        """What the guess is worth."""
        from loadgen.quiz.score import points

        return points(self.guess, self.measured)

    def as_record(self) -> dict[str, object]:
        """For JSON; without an interval its ends are null."""
        return {
            "question": self.question.name,
            "guess": self.guess,
            "ratio": self.measured.ratio,
            "low": self.measured.low,
            "high": self.measured.high,
            "points": self.points,
        }


def _dialogue(asked: "list[Question]") -> list[Answer]:
    """Ask one question after another; what was answered and could be measured."""
    from loadgen.quiz.score import MOST

    print("A ratio is asked for: 1 is the same, 0.5 half as much, 2 twice as much.")
    print("Return alone skips a question; Ctrl-D ends.")
    answers: list[Answer] = []
    for number, question in enumerate(asked, 1):
        print(f"\n{number}. {question.text}")
        guess = _guess()
        if guess is None:
            break
        if guess == 0:
            continue
        measured = _measured(question)
        if measured is None:
            continue
        answers.append(Answer(question, guess, measured))
        _tell(answers[-1])
    total = sum(each.points for each in answers)
    print(f"\n{total} of {MOST * len(answers)} points for {len(answers)} answered.")
    return answers


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


def _measured(question: "Question") -> "Measured | None":
    """Nothing where it cannot be measured, and why on standard error."""
    print(f"measuring for about {MEASURED_S} s: {' '.join(command(question)[2:])}", flush=True)
    try:
        return measure(question)
    except UserError as error:
        print(f"not measured: {error}", file=sys.stderr)
        return None


def _tell(answer: Answer) -> None:
    measured, question = answer.measured, answer.question
    told = f"{measured.ratio:.3g}"
    if measured.low is not None and measured.high is not None:
        told += f" [{measured.low:.3g}, {measured.high:.3g}]"
    print(f"measured {told}, you said {answer.guess:g}: {answer.points} points")
    print(f"Why: {question.because} See {where(question)}.")


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
