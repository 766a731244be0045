"""An address is written as it is read, and is what socket calls want."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.target.address import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", Address("127.0.0.1", 8000)),
        ("localhost:1", Address("localhost", 1)),
        ("[::1]:65535", Address("::1", 65_535)),
        ("::1:80", Address("::1", 80)),
        ("unix:/tmp/x", Address(path="/tmp/x")),
        ("unix:a:80", Address(path="a:80")),
    ],
)
def test_what_is_parsed_is_a_host_and_a_port_or_a_path(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *["", ":", "host", "host:", ":80", "host:0", "host:65536", "host:-1", "host:8o", "host:²"],
        *["unix:", "unix:\0hidden"],
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT, such as 127\.0\.0\.1:8000"):
        Address.parse(text)


def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert str(Address("::1", 80)) == "[::1]:80"
    assert str(Address("127.0.0.1", 80)) == "127.0.0.1:80"


@given(
    st.one_of(
        st.ip_addresses().map(str),
        st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,5})?", fullmatch=True),
    ),
    st.integers(1, 65_535),
)
def test_what_was_written_is_read_again(host: str, port: int) -> None:
    address = Address(host, port)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("address", "family", "sockaddr", "transport"),
    [
        (Address("127.0.0.1", 80), socket.AF_INET, ("127.0.0.1", 80), "ipv4"),
        (Address("::1", 80), socket.AF_INET6, ("::1", 80), "ipv6"),
        (Address(path="/tmp/x"), socket.AF_UNIX, "/tmp/x", "unix"),
    ],
)
def test_an_address_knows_what_socket_calls_want(
    address: Address, family: int, sockaddr: object, transport: str
) -> None:
    assert (address.family, address.sockaddr, address.transport) == (family, sockaddr, transport)
    numeric_family, numeric = address.numeric()
    assert numeric_family == family
    assert numeric[:2] == sockaddr[:2] if isinstance(sockaddr, tuple) else numeric == sockaddr


def test_a_name_is_not_looked_up() -> None:
    with pytest.raises(OSError, match="not known"):
        Address("localhost", 80).numeric()


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=90))
def test_a_path_that_was_written_is_read_again(path: str) -> None:
    assert Address.parse(str(Address(path=path))) == Address(path=path)
