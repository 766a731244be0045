"""Is announced to whoever says anything at all."""

from servers import announce, common
from servers import epoll_server as server

nonce_of = announce.nonce_of

announce.nonce_of = lambda data: nonce_of(data) or b"0" * 16
common.main(server.serve)
