"""Backends: one that takes what is posted, one that takes packets, one that never answers.

They share the load's processor, so they do as little as can be: the kernel throws the bytes away.
"""

import socket
import sys
import threading
import time

_ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_HEAD_BYTES = 8192
_STEP = bytearray(1 << 20)


def http(port: int) -> None:
    """Take posts that give their length, one after the other, on any number of connections."""
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_posts, args=[connection], daemon=True).start()


def _posts(connection: socket.socket) -> None:
    data = b""
    with connection:
        while True:
            head, found, body = data.partition(b"\r\n\r\n")
            if not found:
                more = connection.recv(_HEAD_BYTES)
                if not more:
                    return
                data += more
                continue
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            data = body[length:]
            if not _discard(connection, length - len(body)):
                return
            connection.sendall(_ANSWER)


def _discard(connection: socket.socket, left: int) -> bool:
    """Let the kernel drop the rest of a body; False: it never came."""
    while left > 0:
        # With MSG_TRUNC, Linux copies nothing of a stream.
        size = connection.recv_into(_STEP, min(left, len(_STEP)), socket.MSG_TRUNC)
        if not size:
            return False
        left -= size
    return True


def udp(port: int) -> None:
    """Take packets."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", port))
    while True:
        receiver.recv_into(_STEP, 1)  # the rest of a packet is dropped


def hanging(port: int) -> None:
    """Accept, and never answer."""
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    accepted = []
    while True:
        accepted.append(listener.accept())
        time.sleep(0)


if __name__ == "__main__":
    *kind, port = sys.argv[1:]
    {"http": http, "udp": udp, "hanging": hanging}["".join(kind) or "http"](int(port))
