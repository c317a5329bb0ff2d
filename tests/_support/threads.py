"""Which threads outlive what started them."""

import contextlib
import sys
import threading
import traceback
from collections.abc import Iterator

from tests._support.waiting import wait_until

__all__ = ["no_thread_left"]


@contextlib.contextmanager
def no_thread_left(*, allowed: tuple[str, ...] = (), grace: float = 2.0) -> Iterator[None]:
    """Fail if a thread started inside the block still runs `grace` seconds after its end.

    Parameters
    ----------
    allowed
        Beginnings of the names of threads that may stay, such as ``"asyncio_"`` for the loop's own executor.
    grace
        Seconds that threads already told to stop get to do so.
    """
    before = set(threading.enumerate())
    yield

    def left() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t not in before and not t.name.startswith(allowed)]

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not left(), grace)
    if threads := left():
        raise AssertionError("threads left behind:\n" + "\n".join(_describe(thread) for thread in threads))


def _describe(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or -1)
    stack = "".join(traceback.format_stack(frame)[-4:]) if frame else ""
    return f"{thread.name} (daemon={thread.daemon})\n{stack}"
