"""Does not notice when a worker has died."""

import os
import signal

from servers import common
from servers import prefork_server as server

os.wait = signal.pause
common.main(server.serve)
