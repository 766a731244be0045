"""Ends when it is told to, and lets its workers go on."""

import os

from servers import common, process
from servers import prefork_server as server

process.fork = os.fork
common.main(server.serve)
