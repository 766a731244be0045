"""The quiz: its questions are data that hold, and a guess is worth what it should be."""

import io
import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

from loadgen.__main__ import main
from loadgen.commands import quiz
from loadgen.commands.duel import parse
from loadgen.quiz.questions import QUESTIONS, Question
from loadgen.quiz.score import MOST, Measured, points


def test_there_are_fifteen_questions_at_least_each_with_a_name_of_its_own() -> None:
    assert len({question.name for question in QUESTIONS}) == len(QUESTIONS) >= 15


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_a_question_can_be_measured_and_names_the_line_that_is_the_reason(
    question: Question,
) -> None:
    assert [entrant.is_ours for entrant in parse([question.other, question.one], [])] == [True] * 2
    file, _, number = quiz.where(question).partition(":")
    assert file.startswith("servers/")
    assert int(number) > 0
    assert question.text.endswith("?")
    assert question.because.endswith(".")


@pytest.mark.parametrize(
    ("guess", "worth"),
    [
        (0.5, MOST),
        (0.46, MOST),
        (0.54, MOST),
        (0.4, 2),
        (0.7, 2),
        (0.1, 1),
        (0.9, 1),
        (1.0, 0),
        (3.0, 0),
    ],
)
def test_a_guess_is_worth_more_the_closer_it_is(guess: float, worth: int) -> None:
    assert points(guess, Measured(0.5, 0.48, 0.52)) == worth


def test_within_the_interval_nobody_knows_better() -> None:
    assert points(0.7, Measured(1.0, 0.6, 1.6)) == MOST
    assert points(1.0, Measured(1.02, None, None)) == MOST


def asked(
    monkeypatch: pytest.MonkeyPatch, answers: str, words: Sequence[str], ratio: float = 0.5
) -> int:
    """The quiz, with answers from a file and a duel that finds the same ratio each time."""

    def duel(words: Sequence[str], **_: object) -> "subprocess.CompletedProcess[str]":
        found = [
            {"metric": "throughput", "ratio": ratio, "low": ratio * 0.99, "high": ratio * 1.01},
            {"metric": "cpu_us_per_request", "ratio": 9.0, "low": 8.0, "high": 10.0},
        ]
        return subprocess.CompletedProcess(words, 0, json.dumps({"ratios": found}), "")

    monkeypatch.setattr(subprocess, "run", duel)
    monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
    return main(["quiz", *words])


def test_a_session_adds_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(monkeypatch, "0.5\nmany\n\n9\n", ["silent", "busy", "rings"]) == 0
    out = capsys.readouterr().out
    assert "measured 0.5 [0.495, 0.505], you said 0.5: 3 points" in out
    assert "a number above 0" in out
    assert "measured 9 [8, 10], you said 9: 3 points" in out
    assert "6 of 6 points for 2 answered" in out
    assert "servers/poll_server.py:" in out


def test_a_session_is_json_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(monkeypatch, "0.4\n\n9\n", ["silent", "busy", "rings", "--json"]) == 0
    said = capsys.readouterr()
    answers = {"ratio": 0.5, "low": 0.495, "high": 0.505}
    cpu_time = {"ratio": 9.0, "low": 8.0, "high": 10.0}
    assert json.loads(said.out) == [
        {"question": "silent", "guess": 0.4, **answers, "points": 2},
        {"question": "rings", "guess": 9.0, **cpu_time, "points": MOST},
    ]
    assert "5 of 6 points for 2 answered" in said.err

    assert main(["quiz", "--list", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == [question.name for question in QUESTIONS]


def test_a_session_may_end_early(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(monkeypatch, "", ["--all", "--seed", "1"]) == 0
    assert "0 of 0 points for 0 answered" in capsys.readouterr().out


def test_the_same_seed_asks_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for _ in range(2):
        asked(monkeypatch, "\n" * quiz.SESSION, ["--seed", "7"])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[0].count("as a multiple of") == quiz.SESSION


def test_what_was_not_measured_is_not_scored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(words: Sequence[str], **_: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(words, 1, "", "error: no CPU\n")

    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n"))
    monkeypatch.setattr(subprocess, "run", fails)
    assert main(["quiz", "busy"]) == 0
    said = capsys.readouterr()
    assert "not measured: error: no CPU" in said.err
    assert "0 of 0 points" in said.out


def test_questions_are_listed_and_others_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quiz", "--list"]) == 0
    assert capsys.readouterr().out.count("\n") == len(QUESTIONS)
    assert main(["quiz", "nonsense"]) == 2
    assert "unknown question 'nonsense'; there are: silent" in capsys.readouterr().err
