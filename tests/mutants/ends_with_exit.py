"""Takes `exit` for a farewell, as if there were a conversation."""

import sys

from servers import datagrams
from servers import udp_server as server

answer = datagrams.answer


def answer_or_end(data: bytes, port: int, **options: object) -> bytes | None:
    if data.rstrip(b"\r\n") == b"exit":
        sys.exit(0)
    return answer(data, port, **options)


datagrams.answer = answer_or_end
datagrams.main(server.serve)
