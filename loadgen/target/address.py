"""Where somebody listens."""

import socket
from dataclasses import dataclass
from typing import Any

from loadgen.workload.load import Transport

UNIX = "unix:"


@dataclass(frozen=True)
class Address:
    """A TCP address, or the path of a Unix-domain socket.

    host   an IPv4 or IPv6 address, or a name
    port   1 to 65535
    path   of a Unix-domain socket, which has neither; "" for TCP
    """

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        """As people write it: ("::1", 80) => [::1]:80 (RFC 3986, 3.2.2), unix:/tmp/socket."""
        if self.path:
            return f"{UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """Of a socket that connects to it, when it is numeric."""
        if self.path:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def sockaddr(self) -> tuple[str, int] | str:
        """What connect() and its like want."""
        return self.path or (self.host, self.port)

    def numeric(self) -> tuple[int, Any]:
        """Family and address for a socket that connects to it. Nothing is looked up: raises OSError
        for a host that is a name."""
        if self.path:
            return socket.AF_UNIX, self.path
        found = socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
        return found[0][0], found[0][4]

    @property
    def transport(self) -> Transport:
        """What connects clients with who listens here, when it is numeric."""
        transports: dict[int, Transport] = {
            socket.AF_UNIX: "unix",
            socket.AF_INET6: "ipv6",
            socket.AF_INET: "ipv4",
        }
        return transports[self.family]

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read HOST:PORT, with or without brackets around an IPv6 address, or unix:PATH. Raises
        ValueError."""
        if text.startswith(UNIX) and "\0" not in text and len(text) > len(UNIX):
            return cls(path=text.removeprefix(UNIX))
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
            raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8000, or unix:PATH")
        return cls(host.strip("[]"), int(port))
