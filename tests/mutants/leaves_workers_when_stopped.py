"""Ends when it is told to, and lets its workers go on."""

import os

from servers import common
from servers import prefork_server as server

common.fork = os.fork
common.main(server.serve)
