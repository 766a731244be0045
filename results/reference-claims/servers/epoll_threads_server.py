r"""Let a pool of threads find the answers, so that a slow one holds up nobody.

After:  epoll_server.py
Waits:  in epoll_wait(), for all clients and for the pool.
Costs:  O(ready) per call, and for every answer two queues, two changes of
        thread, a write to the bell and a change of interest. An answer that
        costs nothing else takes half as much CPU time again, or more.
            python -m loadgen duel epoll epoll_threads
Breaks: with more slow answers at a time than there are threads: 16 of 100 ms
        make 160 a second, however many clients ask.
            python -m loadgen run --server epoll_threads --connections 64 \
                --work sleep:100ms
"""

import os
import queue
import select
import socket
import threading
from collections.abc import Callable

from servers import common, timeouts
from servers.protocol import Session

Tasks = queue.SimpleQueue[tuple[int, Session]]
Answers = queue.SimpleQueue[tuple[int, bytes | None]]


def serve(
    listener: socket.socket,
    new_session: Callable[..., Session],
    workers: int = 16,
) -> None:
    clients: dict[int, tuple[socket.socket, Session]] = {}
    tasks: Tasks = queue.SimpleQueue()
    answers: Answers = queue.SimpleQueue()
    at_work: set[int] = set()
    bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    for _ in range(workers):
        hire(tasks, answers, bell)
    interest = select.epoll()
    interest.register(bell, select.EPOLLIN)
    interest.register(listener, select.EPOLLIN)
    listener.setblocking(False)
    accepting = True
    silence = timeouts.silence()

    while True:
        arrivals = not accepting
        timeout_s = None if accepting else common.RETRY_S
        if silence:
            timeout_s = silence.wait_s(timeout_s)
        changed: set[int] = set()
        for fd, events in interest.poll(timeout_s):
            if fd == bell:
                os.eventfd_read(bell)
                continue
            if fd not in clients:
                arrivals = True
                continue
            sock, session = clients[fd]
            # Hang-ups and errors come unasked; the next read or write tells
            # what happened (epoll_ctl(2)).
            if session.wants_read and events & ~select.EPOLLOUT:
                read(sock, session)
            changed.add(fd)

        while not answers.empty():
            fd, answer = answers.get()
            at_work.discard(fd)
            changed.add(fd)
            _, session = clients[fd]
            if answer is None:
                session.abort()
            session.answer(answer or b"")

        if silence:
            changed.update(silence.due())
        for fd in changed:
            sock, session = clients[fd]
            if session.wants_write:
                write(sock, session)
            if session.request is not None and fd not in at_work:
                at_work.add(fd)
                tasks.put((fd, session))
            if silence:
                silence.linger(sock, session)
            after = wanted(session)
            if after:
                interest.modify(fd, after | select.EPOLLONESHOT)
            elif fd not in at_work:
                del clients[fd]
                common.hang_up(sock)  # ends the interest too (epoll(7))

        # Newcomers come last: whoever is inside goes first. They may get the
        # descriptors of those who left. A batch names each descriptor once,
        # and clients leave after it, so nobody is mixed up.
        if arrivals:
            could = accepting
            arrived, accepting = accept(listener)
            for sock in arrived:
                session = new_session(deferred=True)
                write(sock, session)
                if not session.wants_read:  # the greeting failed
                    common.hang_up(sock)
                    continue
                try:
                    # Named once, and not before modify() asks again: of one
                    # whose answer is being made nothing is to be heard, not
                    # even a hang-up, which comes unasked (epoll_ctl(2)).
                    interest.register(
                        sock, wanted(session) | select.EPOLLONESHOT
                    )
                except OSError:  # the list may be full (epoll_ctl(2))
                    common.refuse(sock)
                    continue
                clients[sock.fileno()] = sock, session
                if silence:
                    silence.welcome(sock, session)
            if accepting != could:
                interest.modify(listener, select.EPOLLIN if accepting else 0)


def hire(tasks: Tasks, answers: Answers, bell: int) -> None:
    worker = threading.Thread(
        target=work, args=(tasks, answers, bell), daemon=True
    )
    worker.start()


def work(tasks: Tasks, answers: Answers, bell: int) -> None:
    while True:
        fd, session = tasks.get()
        answer = None
        if session.request is not None:
            try:
                answer = session.respond(session.request)
            except MemoryError:
                pass
        answers.put((fd, answer))
        os.eventfd_write(bell, 1)  # the loop sleeps in another call


def wanted(session: Session) -> int:
    return (session.wants_read and select.EPOLLIN) | (
        session.wants_write and select.EPOLLOUT
    )


def accept(listener: socket.socket) -> tuple[list[socket.socket], bool]:
    """Who has come; and False when there were no descriptors for more."""
    arrived: list[socket.socket] = []
    for _ in range(common.ACCEPTS_PER_WAKE_UP):
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            break
        except OSError as error:
            if common.exhausted(error):
                return arrived, False
            continue  # that one has gone; others may have come
        sock.setblocking(False)
        arrived.append(sock)
    return arrived, True


def read(sock: socket.socket, session: Session) -> None:
    try:
        session.receive(sock.recv(common.RECEIVE_BYTES))
    except BlockingIOError:
        pass
    except (OSError, MemoryError):
        session.abort()


def write(sock: socket.socket, session: Session) -> None:
    try:
        session.sent(sock.send(session.outgoing))
    except BlockingIOError:
        pass
    except (OSError, MemoryError):
        session.abort()


if __name__ == "__main__":
    common.main(serve)
