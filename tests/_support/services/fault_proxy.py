"""An HTTP/1.1 reverse proxy that delays, fails and counts requests: the network as it is on a bad day.

::

    with FaultProxy(server.endpoint) as proxy:
        proxy.add(Rule("lose_response", match="^PUT .*heads/", times=1))
        ...  # use location.through(proxy.endpoint)
        assert proxy.count("^PUT ") == 3

It runs on a thread of its own. The Host header passes unchanged, so that signatures stay valid. For benchmarks it is a
program too: ``python -m tests._support.services.fault_proxy UPSTREAM '{"action": "delay", "seconds": 0.03}' ...`` prints its
endpoint and serves until its standard input ends.
"""

import asyncio
import contextlib
import json
import random
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from typing import Literal, Self, TypeAlias
from urllib.parse import urlsplit

__all__ = ["Action", "FaultProxy", "Request", "Rule", "bad_weather"]

Action: TypeAlias = Literal[
    "delay",
    "delay_response",
    "status",
    "reset",
    "lose_response",
    "cut_request",
    "cut_response",
    "hang",
    "rate",
]
Headers: TypeAlias = list[tuple[str, str]]

PIECE = 1 << 16
HEAD_LIMIT = 1 << 20

SLOW_DOWN = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
INTERNAL_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
)


@dataclass
class Rule:
    """What happens to which requests; the first rule that is due acts.

    Attributes
    ----------
    action
        - ``delay``, ``delay_response``: wait `seconds` before the server gets the request, or the client its answer;
        - ``status``: answer with `status` and `body` in the server's place (503 has S3's SlowDown as its body, 500 InternalError);
        - ``reset``: reset the connection before the server hears of it;
        - ``lose_response``: let the server finish, then reset: the client cannot know;
        - ``cut_request``, ``cut_response``: pass `size` bytes of the body, then reset both sides;
        - ``hang``: never answer;
        - ``rate``: pass both bodies at `rate` bytes per second.
    match
        Regular expression searched in ``METHOD /path?query``.
    skip, times, every, probability, seed
        Due are, after the first `skip` matches, every `every`-th of them with this probability, `times` in all.
    seen, fired
        How many requests matched, and how many it acted on.
    """

    action: Action
    match: str = ""
    skip: int = 0
    times: int | None = None
    every: int = 1
    probability: float = 1.0
    seed: int = 0
    seconds: float = 0.0
    status: int = 503
    body: str | None = None
    size: int = 0
    rate: float = 1e9
    seen: int = 0
    fired: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def due(self, line: str) -> bool:
        """Tell whether it acts on this request, and count it."""
        if not re.search(self.match, line):
            return False
        self.seen += 1
        turn = self.seen - self.skip - 1
        if turn < 0 or turn % self.every or (self.times is not None and self.fired >= self.times):
            return False
        if self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def answer(self) -> bytes:
        """Return the answer of ``status``."""
        text = self.body
        if text is None:
            text = SLOW_DOWN if self.status == 503 else INTERNAL_ERROR
        data = text.encode()
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(data)))]
        return _dump(f"HTTP/1.1 {self.status} Injected", headers) + data


@dataclass
class Request:
    """One request that came in: `status` is what the client was sent, None where it got no answer."""

    method: str
    target: str
    action: Action | None
    status: int | None = None
    seconds: float = 0.0

    @property
    def line(self) -> str:
        """``METHOD /path?query``."""
        return f"{self.method} {self.target}"


def bad_weather(probability: float, *, seed: int = 0, match: str = "", hang_for: float = 0.5) -> list[Rule]:
    """Return rules by which a request fails with this probability, in one of seven ways.

    Parameters
    ----------
    hang_for
        Seconds until an answer that is late comes; choose it above the client's time-out.
    """
    kinds: list[Rule] = [
        Rule("status", status=500),
        Rule("status", status=503),
        Rule("reset"),
        Rule("lose_response"),
        Rule("cut_request", size=100),
        Rule("cut_response", size=10),
        Rule("delay_response", seconds=hang_for),
    ]
    rules = []
    for number, kind in enumerate(kinds):
        # each sees only what the ones before let pass, hence the growing share
        share = probability / len(kinds)
        rules.append(
            Rule(
                kind.action,
                match=match,
                probability=share / (1 - number * share),
                seed=seed * 1000 + number,
                seconds=kind.seconds,
                status=kind.status,
                size=kind.size,
            )
        )
    return rules


class FaultProxy:
    """The proxy; a context manager. Rules and log may be used from any thread while it runs."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._log: list[Request] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._started = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.endpoint = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen on a free port; `endpoint` says which."""
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """Reset what is open and end the thread. May be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def add(self, *rules: Rule) -> None:
        """Put rules behind those there are."""
        with self._lock:
            self._rules.extend(rules)

    def clear(self) -> None:
        """Drop all rules: from now on every request passes. What hangs goes on hanging."""
        with self._lock:
            self._rules.clear()

    @property
    def log(self) -> list[Request]:
        """The requests since the last `forget`, in the order they came."""
        with self._lock:
            return list(self._log)

    def forget(self) -> None:
        """Empty the log."""
        with self._lock:
            self._log.clear()

    def count(self, match: str = "") -> int:
        """Return how many requests in the log match, failed ones included."""
        return sum(1 for request in self.log if re.search(match, request.line))

    # --- on the proxy's thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_LIMIT)
        )
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = _Exchange(reader, writer, self._upstream)
        try:
            while True:
                try:
                    first, headers = await _read_head(reader)
                except (asyncio.IncompleteReadError, ConnectionError):
                    return
                method, target, _ = first.split(" ", 2)
                request, rule = self._enter(method, target)
                began = time.monotonic()
                try:
                    if not await exchange.run(first, headers, request, rule):
                        return
                finally:
                    request.seconds = time.monotonic() - began
        except (asyncio.IncompleteReadError, ConnectionError, _ResetError):
            exchange.reset()
        except asyncio.CancelledError:
            exchange.reset()
            raise
        finally:
            exchange.close()

    def _enter(self, method: str, target: str) -> tuple[Request, Rule | None]:
        line = f"{method} {target}"
        with self._lock:
            rule = next((rule for rule in self._rules if rule.due(line)), None)
            request = Request(method, target, rule.action if rule else None)
            self._log.append(request)
        return request, rule


class _ResetError(Exception):
    """The rule wants the connection to break here."""


class _Exchange:
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: tuple[str, int]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._address = upstream
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, first: str, headers: Headers, request: Request, rule: Rule | None) -> bool:
        """Carry one request over and its answer back; False if the connection ends with it."""
        rule = rule or Rule("delay")
        if rule.action == "reset":
            raise _ResetError
        if rule.action == "hang":
            while await self._reader.read(PIECE):
                pass
            raise _ResetError
        if _header(headers, "expect"):
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            headers = [(name, value) for name, value in headers if name.lower() != "expect"]
        if rule.action == "status":
            await _pump(_body(self._reader, headers), None, Rule("delay"))
            request.status = rule.status
            self._writer.write(rule.answer())
            await self._writer.drain()
            return True
        if rule.action == "delay":
            await asyncio.sleep(rule.seconds)
        source, sink = await self._connect()
        sink.write(_dump(first, headers))
        sending = asyncio.ensure_future(
            _pump(_body(self._reader, headers), sink, rule, cut=rule.action == "cut_request")
        )
        try:
            # The server may answer before it has read everything, and may then not read on.
            answer, answer_headers = await self._answer(source, sending)
            status = int(answer.split(" ")[1])
            empty = request.method == "HEAD" or status in {204, 304}
            pieces = _body(source, answer_headers, empty=empty, until_end=True)
            if rule.action == "lose_response":
                await sending
                await _pump(pieces, None, Rule("delay"))
                raise _ResetError
            if rule.action == "delay_response":
                await asyncio.sleep(rule.seconds)
            request.status = status
            self._writer.write(_dump(answer, answer_headers))
            await _pump(pieces, self._writer, rule, cut=rule.action == "cut_response")
            framed = (
                empty
                or _header(answer_headers, "content-length")
                or _header(answer_headers, "transfer-encoding")
            )
            return bool(
                framed and sending.done() and "close" not in _header(answer_headers, "connection").lower()
            )
        finally:
            sending.cancel()
            with contextlib.suppress(BaseException):
                await sending

    async def _answer(
        self, source: asyncio.StreamReader, sending: asyncio.Future[None]
    ) -> tuple[str, Headers]:
        receiving = asyncio.ensure_future(_read_final_head(source))
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and isinstance(error := sending.exception(), _ResetError):
                raise error
            return await receiving
        finally:
            receiving.cancel()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._server is None or self._server[1].is_closing() or self._server[0].at_eof():
            if self._server is not None:
                self._server[1].close()
            self._server = await asyncio.open_connection(*self._address, limit=HEAD_LIMIT)
        return self._server

    def reset(self) -> None:
        """Break both connections without a farewell."""
        for writer in (self._writer, *(self._server or ())[1:]):
            if (sock := writer.get_extra_info("socket")) is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def close(self) -> None:
        """Close both connections."""
        self._writer.close()
        if self._server is not None:
            self._server[1].close()


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, [(name.strip(), value.strip()) for name, _, value in pairs]


async def _read_final_head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    while True:
        first, headers = await _read_head(reader)
        if not first.split(" ")[1].startswith("1"):
            return first, headers


def _dump(first: str, headers: Headers) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def _header(headers: Headers, name: str) -> str:
    return next((value for key, value in headers if key.lower() == name), "")


async def _body(
    reader: asyncio.StreamReader, headers: Headers, *, empty: bool = False, until_end: bool = False
) -> AsyncGenerator[bytes, None]:
    """Yield a body as it is on the wire, chunk frames included."""
    length = _header(headers, "content-length")
    if empty:
        return
    if "chunked" in _header(headers, "transfer-encoding").lower():
        while True:
            line = await reader.readuntil(b"\r\n")
            yield line
            if size := int(line.split(b";")[0], 16):
                async with contextlib.aclosing(_exactly(reader, size + 2)) as pieces:
                    async for piece in pieces:
                        yield piece
                continue
            while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
                yield line
            yield line
            return
    elif length:
        async with contextlib.aclosing(_exactly(reader, int(length))) as pieces:
            async for piece in pieces:
                yield piece
    elif until_end:
        while piece := await reader.read(PIECE):
            yield piece


async def _exactly(reader: asyncio.StreamReader, size: int) -> AsyncGenerator[bytes, None]:
    while size:
        piece = await reader.read(min(size, PIECE))
        if not piece:
            raise ConnectionError("the body ended early")
        size -= len(piece)
        yield piece


async def _pump(
    body: AsyncGenerator[bytes, None], sink: asyncio.StreamWriter | None, rule: Rule, *, cut: bool = False
) -> None:
    passed, began = 0, time.monotonic()
    async with contextlib.aclosing(body) as pieces:
        async for piece in pieces:
            if cut and passed + len(piece) > rule.size:
                if sink is not None:
                    sink.write(piece[: rule.size - passed])
                    await sink.drain()
                raise _ResetError
            passed += len(piece)
            if sink is not None:
                sink.write(piece)
                await sink.drain()
            if rule.action == "rate":
                await asyncio.sleep(max(0.0, passed / rule.rate - (time.monotonic() - began)))


def _main(upstream: str, rules: Iterable[str]) -> None:
    with FaultProxy(upstream) as proxy:
        proxy.add(*(Rule(**json.loads(rule)) for rule in rules))
        print(proxy.endpoint, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
