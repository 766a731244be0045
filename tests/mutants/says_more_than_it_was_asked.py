"""Is announced at such length that who asks in another's name multiplies what that one gets."""

from servers import announce, common
from servers import epoll_server as server

answer = announce.answer

announce.answer = lambda nonce, server: b" " * 1000 + answer(nonce, server)
common.main(server.serve)
