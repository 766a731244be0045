"""Takes the first of two lengths, where whoever stands before it may take the second."""

from servers import common, http_session
from servers import poll_server as server

body_length = http_session.body_length


def first_length(values: dict[bytes, bytes]) -> int:
    length = values.get(b"content-length")
    if length is not None:
        values = {**values, b"content-length": length.partition(b",")[0]}
    return body_length(values)


http_session.ONLY_ONCE = set()
http_session.body_length = first_length
common.main(server.serve)
