"""Removes whatever bears the name of its Unix socket, though another server listens there."""

import os
from contextlib import suppress

from servers import common
from servers import threaded_server as server


def remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


common.remove_if_stale = remove
common.main(server.serve)
