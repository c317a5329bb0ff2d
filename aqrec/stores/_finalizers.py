"""Clients of fsspec that are closed by their store alone."""

from __future__ import annotations

import weakref

__all__ = ["leave_alone"]


def leave_alone(client: object) -> None:
    """Take back the order a client has given to close its connections when it is collected, or at exit.

    At exit that comes before the last flush, whose requests then fail; later its loop has ended, and the
    closing complains.
    """
    for reference in weakref.getweakrefs(client):
        # What a finalizer waits for is its object's collection: it is the callback of a weak reference.
        if isinstance(finalizer := reference.__callback__, weakref.finalize):
            finalizer.detach()
