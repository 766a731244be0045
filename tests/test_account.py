"""The account of a server's CPU time: a control group of its own, and none is left behind."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import wait_until

from loadgen.target.account import Account


def opened() -> Account:
    account = Account.opened()
    if account is None:
        pytest.skip("no control group can be made here")
    return account


@pytest.fixture
def account() -> Iterator[Account]:
    made = opened()
    yield made
    made.close()


@pytest.fixture
def busy() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that computes until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield process
        process.kill()


def test_it_counts_whoever_was_added(account: Account, busy: "subprocess.Popen[bytes]") -> None:
    assert account.cpu_ns() == 0
    account.add(busy.pid)
    wait_until(lambda: account.cpu_ns() > 10_000_000, "10 ms are counted")


def test_no_two_share_a_group_and_none_is_left() -> None:
    accounts = [opened() for _ in range(3)]
    assert len({account.group for account in accounts}) == len(accounts)
    for account in accounts:
        account.close()
        assert not account.group.exists()


def test_what_a_killed_lab_left_behind_is_in_nobodys_way(
    account: Account,
) -> None:
    """Numbers of processes come again: the next lab may have that of the one that was killed."""
    code = (
        "import os, sys; from loadgen.target.account import Account;"
        "os.getpid = lambda: 4711; print(Account.opened().group)"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    left = [Path(each.stdout.strip()) for each in (first, second)]
    for group in left:
        group.rmdir()
    assert left[0].parent == left[1].parent == account.group.parent
    assert left[0] != left[1]


def test_a_group_goes_with_who_has_just_been_killed(busy: "subprocess.Popen[bytes]") -> None:
    account = opened()
    account.add(busy.pid)
    wait_until(lambda: account.cpu_ns() > 0, "it computes")

    busy.kill()
    account.close()

    assert not account.group.exists()
