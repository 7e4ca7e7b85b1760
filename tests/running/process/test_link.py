"""The server's end of the socket: frames of any size keep their order, and all are told."""

import asyncio
import os
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanserve.running.process.link import Link
from spanserve.running.wire.frames import LARGE, NO_ARENA, Arenas, Frame, packed

DEADLINE_S = 30
SIZES = st.sampled_from([0, 10, 99_999, 100_001, LARGE + 1, 3 * LARGE])


class End:
    """A link, and what it was told."""

    def __init__(self, connection: socket.socket, own: Arenas, other: Arenas) -> None:
        connection.setblocking(False)
        self.heard: list[tuple[Any, bytes]] = []
        self.news = asyncio.Event()
        self.over = asyncio.get_running_loop().create_future()
        self.link = Link(connection, own, other, told=self.told, ended=self.over.set_result)

    def told(self, frame: Frame) -> None:
        self.heard.append((frame.content, bytes(frame.data)))
        self.news.set()

    async def has_heard(self, count: int) -> None:
        while len(self.heard) < count:
            self.news.clear()
            await self.news.wait()


def bytes_of(number: int, size: int) -> bytes:
    return bytes([number % 251 + 1]) * size


def twice(arenas: Arenas) -> Arenas:
    """Return the same memory, for the other side."""
    return Arenas([os.dup(each) for each in arenas.descriptors])


@given(st.lists(SIZES, max_size=8), st.lists(SIZES, max_size=8), st.booleans())
@settings(max_examples=25, deadline=None)
def test_all_frames_of_both_sides_are_told_in_their_order(
    here: list[int],
    there: list[int],
    has_arenas: bool,  # noqa: FBT001  # hypothesis's
) -> None:
    async def talk() -> None:
        ours, theirs = socket.socketpair()
        count = 8 if has_arenas else 0
        there_to, here_to = Arenas.made(count), Arenas.made(count)
        one = End(ours, here_to, there_to)
        other = End(theirs, twice(there_to), twice(here_to))
        async with asyncio.timeout(DEADLINE_S):
            for end, sizes in ((one, here), (other, there)):
                for number, size in enumerate(sizes):
                    end.link.send([number], [bytes_of(number, size)], number)
            await asyncio.gather(one.has_heard(len(there)), other.has_heard(len(here)))
        for end, sizes in ((other, here), (one, there)):
            assert end.heard == [([n], bytes_of(n, size)) for n, size in enumerate(sizes)]
        one.link.close()
        assert await other.over == ""
        assert not one.over.done()

    asyncio.run(talk())


@pytest.mark.parametrize("has_arenas", [False, True])
async def test_what_was_sent_before_the_end_is_told_before_it(*, has_arenas: bool) -> None:
    ours, theirs = socket.socketpair()
    written = Arenas.made(1 if has_arenas else 0)
    end = End(ours, Arenas(()), twice(written))
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    for part in packed(["last"], [bytes_of(1, 2 * LARGE)], arenas=written, arena=0):
        await loop.sock_sendall(theirs, part)
    for part in packed(["words"], arenas=written, arena=NO_ARENA):
        await loop.sock_sendall(theirs, part)
    theirs.close()
    assert await end.over == ""
    assert end.heard == [(["last"], bytes_of(1, 2 * LARGE)), (["words"], b"")]
    written.close()


async def test_an_arena_that_is_shorter_than_a_frame_says_ends_it() -> None:
    ours, theirs = socket.socketpair()
    written = Arenas.made(1)
    if not written.descriptors:
        pytest.skip("the system has no arenas")
    end = End(ours, Arenas(()), twice(written))
    frame = packed(["long"], [bytes_of(1, 2 * LARGE)], arenas=written, arena=0)
    os.truncate(written.descriptors[0], LARGE)
    theirs.sendall(b"".join(frame))
    assert await end.over == "it sent what cannot be read"
    assert end.heard == []
    theirs.close()
    written.close()
