"""`loadgen claim`: one sentence of the tutorials, tested while one waits; and the page of all."""

import json
import re
from pathlib import Path

import pytest
import records
from claims_data import BLOCKS, observation, shares
from command_line import expect_error, expect_nothing_left, loadgen

from loadgen import __main__, claims

pytestmark = pytest.mark.measures


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints that could be done."""
    assert __main__.main(["claim", *map(str, arguments)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A run in which one claim was tested."""
    seen = shares(alone=1, two=0, long=0, pieces=0)
    found = [observation("receiving", seen, block) for block in range(BLOCKS)]
    return records.write_run(tmp_path / "run", found)


def test_without_a_name_all_claims_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys).splitlines()

    assert [line.split()[0] for line in lines] == list(claims.ALL)
    assert all(line.endswith(".") for line in lines)


def test_a_claim_is_measured_and_judged(tmp_path: Path) -> None:
    done = loadgen("claim", "receiving")

    assert (done.returncode, done.stderr) == (0, "")
    *_, name, verdict, sentence = done.stdout.splitlines()
    assert name == "receiving: recv(1024) receives one message."
    assert verdict.strip() == "false"
    assert "in 300 of 300 (100 % [99, 100])" in sentence
    assert "in 0 of 300 (0 % [0, 1])" in sentence


def test_a_claim_without_data_is_not_decided(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As long as there is no experiment that sends datagrams."""
    from loadgen import experiments

    monkeypatch.setattr(experiments, "ALL", ("throughput",))

    *_, verdict, sentence = told(capsys, "udp").splitlines()
    assert (verdict.strip(), sentence.strip()) == ("not decided", "The run has no datagrams.")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["stickin"], "Did you mean sticking?"),
        (["nonsense"], "unknown claim 'nonsense'"),
        (["--page", "x.md"], "--run DIR"),
        (["edge", "--run", ".", "--page", "x.md"], "no NAME"),
        (["--run", ".", "--page", "x.md", "--json"], "not allowed with argument"),
    ],
)
def test_a_wrong_command_line_creates_nothing(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert says in expect_error(capsys, 2, "claim", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_what_a_stored_run_says_needs_no_measuring(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = told(capsys, "receiving", "--run", stored)
    assert one.splitlines()[1].strip() == "false"

    everything = told(capsys, "--run", stored)
    assert one in everything
    assert everything.count("not decided") == len(claims.ALL) - 1


def test_programs_get_json(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = [json.loads(line) for line in told(capsys, "--json").splitlines()]
    assert [each["claim"] for each in listed] == list(claims.ALL)

    (judged,) = map(json.loads, told(capsys, "receiving", "--run", stored, "--json").splitlines())
    assert judged["claim"] == "receiving"
    assert judged["says"] == "recv(1024) receives one message."
    assert judged["verdict"] == "false"
    assert judged["sentence"] in told(capsys, "receiving", "--run", stored)
    assert judged["ratios"] == {}
    assert len(judged["seen"]) == BLOCKS

    lines = told(capsys, "--run", stored, "--json").splitlines()
    assert [json.loads(line)["claim"] for line in lines] == list(claims.ALL)


def test_of_a_claim_that_is_measured_only_json_is_on_standard_output() -> None:
    done = loadgen("claim", "receiving", "--json")

    assert done.returncode == 0
    assert json.loads(done.stdout)["verdict"] == "false"


def test_a_run_without_claims_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = records.write_run(tmp_path / "run", [records.record()])

    assert "has tested no claims" in expect_error(capsys, 1, "claim", "--run", run)
    assert "does not exist" in expect_error(capsys, 1, "claim", "--run", tmp_path / "nowhere")


def test_the_page_links_to_the_files_and_the_run(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "claims.md"
    page.parent.mkdir()
    records.report(stored)

    assert told(capsys, "--run", stored, "--page", page) == ""
    text = page.read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    for name in claims.ALL:
        claim = claims.find(name)
        assert any(link.endswith(claim.source) for link in links)
        assert f"## {name}\n" in text
        assert f"[{claim.says}](#{name})" in text
        assert f"`python -m loadgen claim {name}`" in text
    assert "**False.** One recv(1024) returned one message" in text


@pytest.mark.parametrize("how", ["Ctrl-C", "killed"])
def test_no_program_outlives_the_lab(how: str) -> None:
    expect_nothing_left(how, "claim sticking", "loadgen.claims")
