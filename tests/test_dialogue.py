"""What is said: requests of the right length, and tags where the dialogue says."""

import pytest

from loadgen.workload import dialogue
from loadgen.workload.load import Protocol


@pytest.mark.parametrize("message_bytes", [2, 3, 9, 10, 16, 1 << 20])
def test_hello_echo(message_bytes: int) -> None:
    said = dialogue.hello_echo(message_bytes)
    assert len(said.request) == message_bytes
    assert said.request.endswith(b"\n")
    line = said.request[:-1]
    assert b"\n" not in line
    assert said.answer == b"Hello, " + line + b"!\n"
    assert (said.greeting, said.opaque) == (b"Welcome!\n", slice(0, 0))
    only = dialogue.hello_echo(message_bytes, only=True)
    assert only == said._replace(request=said.request + b"exit\n")


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("message_bytes", [2, 16, 4096])
def test_http(message_bytes: int, only: bool) -> None:
    said = dialogue.http(message_bytes, only=only)
    name = dialogue.hello_echo(message_bytes).request[:-1]
    close = b"Connection: close\r\n" if only else b""
    assert said.greeting == b""
    assert said.request == b"GET /?%b HTTP/1.1\r\nHost: lab\r\n%b\r\n" % (name, close)
    assert len(said.answer[said.opaque]) == 29
    head, _, body = said.answer.partition(b"\r\n\r\n")
    assert body == b"<!doctype html>\n<title>Hello</title>\n<p>Hello, %b!\n" % name
    assert head.startswith(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
        b"Content-Length: %d\r\n%bDate: " % (len(body), close)
    )
    assert head.endswith(b"Date: " + said.answer[said.opaque])


@pytest.mark.parametrize("protocol", ["hello", "http"])
@pytest.mark.parametrize(("message_bytes", "digits"), [(2, 1), (8, 7), (9, 8), (100, 8)])
def test_the_tag_of_a_request_comes_back_in_its_answer(
    message_bytes: int, digits: int, protocol: Protocol
) -> None:
    said = dialogue.of(protocol, message_bytes)
    assert said.tag_digits == digits
    sent = said.request[said.request_tag_offset :][:digits]
    assert said.answer[said.answer_tag_offset :][:digits] == sent
    assert len(sent) == digits
