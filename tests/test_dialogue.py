"""What is said: requests of the right length, and tags where the dialogue says."""

import pytest

from loadgen.workload import dialogue


@pytest.mark.parametrize("message_bytes", [2, 3, 9, 10, 16, 1 << 20])
def test_hello_echo(message_bytes: int) -> None:
    said = dialogue.hello_echo(message_bytes)
    assert len(said.request) == message_bytes
    assert said.request.endswith(b"\n")
    line = said.request[:-1]
    assert b"\n" not in line
    assert said.answer == b"Hello, " + line + b"!\n"
    assert (said.greeting, said.farewell) == (b"Welcome!\n", b"exit\n")


@pytest.mark.parametrize(("message_bytes", "digits"), [(2, 1), (8, 7), (9, 8), (100, 8)])
def test_the_tag_of_a_request_comes_back_in_its_answer(message_bytes: int, digits: int) -> None:
    said = dialogue.hello_echo(message_bytes)
    assert said.tag_digits == digits
    sent = said.request[said.request_tag_offset :][:digits]
    assert said.answer[said.answer_tag_offset :][:digits] == sent
    assert len(sent) == digits
