"""An address is written as it is read, and is what socket calls want."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.target.address import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("localhost:1", ("localhost", 1)),
        ("[::1]:65535", ("::1", 65_535)),
        ("::1:80", ("::1", 80)),
    ],
)
def test_what_is_parsed_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":80", "host:0", "host:65536", "host:-1", "host:8o", "host:²"],
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
    assert Address.parse(str(Address(host, port))) == (host, port)
