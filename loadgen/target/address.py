"""Where somebody listens."""

import socket
from typing import NamedTuple


class Address(NamedTuple):
    """A TCP address; also the tuple that socket calls want.

    host   an IPv4 or IPv6 address, or a name
    """

    host: str
    port: int

    def __str__(self) -> str:
        """As people write it: ("::1", 80) => [::1]:80 (RFC 3986, 3.2.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """Of a socket that connects to it, when it is numeric."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read HOST:PORT, with or without brackets around an IPv6 address. Raises ValueError."""
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
            raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8000")
        return cls(host.strip("[]"), int(port))
