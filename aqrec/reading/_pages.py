"""Pages of an answer: a token names the answer as it was, so that what is recorded meanwhile shifts nothing."""

from __future__ import annotations

import base64
import threading
from typing import Final

import msgspec

from aqrec.errors import InvalidInputError
from aqrec.reading._answer import Answer

__all__ = ["PageToken", "Pins"]

_HELD: Final = 8
_EXPECTED: Final = "give the token of a page of the same search, or None for its first page"


class PageToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a page token says.

    Attributes
    ----------
    pin
        Names the answer in the process that has it.
    query
        Digest of the search.
    offset, last
        How many runs were on the pages before, and the id of the last of them.
    until
        Clock of the catalog: no run that was made later belongs to the answer.
    now
        When the search was made, ms since epoch.
    """

    pin: str
    query: str
    offset: int
    last: str
    until: int
    now: int

    def text(self) -> str:
        """Return the token as callers see it."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @staticmethod
    def read(text: str, query: str) -> PageToken:
        """Return what a token says; raise `InvalidInputError` if it is none, or of another search."""
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
            token = msgspec.json.decode(data, type=PageToken)
        except (ValueError, msgspec.DecodeError):
            raise InvalidInputError(f"page_token={text!r:.80} is no token; {_EXPECTED}") from None
        if token.query != query or token.offset < 1:
            raise InvalidInputError(f"page_token: it belongs to another search; {_EXPECTED}")
        return token


class Pins:
    """Answers that have further pages; the longest unused is forgotten first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, Answer] = {}

    def hold(self, pin: str, answer: Answer) -> None:
        """Keep an answer."""
        with self._lock:
            self._held.pop(pin, None)
            self._held[pin] = answer
            while len(self._held) > _HELD:
                del self._held[next(iter(self._held))]

    def find(self, pin: str) -> Answer | None:
        """Return the answer if it is still there."""
        with self._lock:
            answer = self._held.pop(pin, None)
            if answer is not None:
                self._held[pin] = answer
            return answer
