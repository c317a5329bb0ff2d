"""The proxy passes requests as they are, breaks those it is told to, and counts them all."""

import http.client
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from tests._support import wait_until
from tests._support.services import FaultProxy, Rule, bad_weather

Answer = tuple[int, bytes]


class Handler(http.server.BaseHTTPRequestHandler):
    """Keeps what is put and gives it back, in chunks if asked."""

    protocol_version = "HTTP/1.1"
    stored: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        self.stored[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        data = self.stored.get(self.path)
        self.send_response(404 if data is None else 200)
        self.send_header("X-Host", self.headers["Host"])
        if self.headers.get("X-Chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data or b""), data or b""))
        else:
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

    def log_message(self, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """Say nothing: connections are broken on purpose here."""


@pytest.fixture
def upstream() -> Iterator[str]:
    Handler.stored.clear()
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(upstream: str, fault_proxy: Callable[[str], FaultProxy]) -> FaultProxy:
    return fault_proxy(upstream)


def ask(
    proxy: FaultProxy, method: str, path: str, body: bytes | None = None, timeout: float = 20, **headers: str
) -> Answer:
    connection = http.client.HTTPConnection(proxy.endpoint.removeprefix("http://"), timeout=timeout)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_requests_pass_unchanged_and_are_counted(proxy: FaultProxy) -> None:
    data = bytes(range(256)) * 5000
    assert ask(proxy, "PUT", "/a?x=1", data) == (200, b"")
    assert ask(proxy, "GET", "/a?x=1") == (200, data)
    assert ask(proxy, "GET", "/a?x=1", **{"X-Chunked": "yes"}) == (200, data)
    assert ask(proxy, "GET", "/missing") == (404, b"")
    assert [(one.method, one.target, one.status) for one in proxy.log] == [
        ("PUT", "/a?x=1", 200),
        ("GET", "/a?x=1", 200),
        ("GET", "/a?x=1", 200),
        ("GET", "/missing", 404),
    ]
    assert (proxy.count("^GET "), proxy.count("^GET /a"), proxy.count()) == (3, 2, 4)
    proxy.forget()
    assert proxy.log == []


def test_the_host_header_stays_so_that_signatures_stay_valid(proxy: FaultProxy) -> None:
    connection = http.client.HTTPConnection(proxy.endpoint.removeprefix("http://"))
    for _ in range(2):  # on one connection
        connection.request("GET", "/", headers={"Host": "bucket.example:123"})
        answer = connection.getresponse()
        answer.read()
        assert answer.getheader("X-Host") == "bucket.example:123"
    connection.close()


def test_an_injected_status_never_reaches_the_server(proxy: FaultProxy) -> None:
    proxy.add(Rule("status", match="^PUT", status=503, times=1))
    status, body = ask(proxy, "PUT", "/a", b"data")
    assert status == 503
    assert b"SlowDown" in body
    assert Handler.stored == {}
    assert ask(proxy, "PUT", "/a", b"data") == (200, b"")


def test_a_lost_response_means_that_it_was_done(proxy: FaultProxy) -> None:
    proxy.add(Rule("lose_response", times=1))
    with pytest.raises(ConnectionError):
        ask(proxy, "PUT", "/a", b"data")
    assert Handler.stored == {"/a": b"data"}
    assert proxy.log[0].status is None


@pytest.mark.parametrize(
    "rule", [Rule("reset", times=1), Rule("cut_request", size=3, times=1)], ids=["reset", "cut"]
)
def test_a_broken_request_was_not_done(proxy: FaultProxy, rule: Rule) -> None:
    proxy.add(rule)
    with pytest.raises(ConnectionError):
        ask(proxy, "PUT", "/a", b"data")
    assert Handler.stored == {}
    assert ask(proxy, "PUT", "/a", b"data") == (200, b"")


def test_a_cut_response_is_shorter_than_it_says(proxy: FaultProxy) -> None:
    Handler.stored["/a"] = b"0123456789"
    proxy.add(Rule("cut_response", size=4))
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(proxy, "GET", "/a")


def test_a_hanging_request_is_never_answered(proxy: FaultProxy) -> None:
    proxy.add(Rule("hang"))
    with pytest.raises(TimeoutError):
        ask(proxy, "GET", "/a", timeout=0.2)
    proxy.clear()
    assert ask(proxy, "GET", "/a") == (404, b"")


def test_delays_come_before_the_server_or_after_it(proxy: FaultProxy) -> None:
    with ThreadPoolExecutor(1) as pool:
        proxy.add(
            Rule("delay_response", match="/late", seconds=0.3), Rule("delay", match="/slow", seconds=0.3)
        )
        late = pool.submit(ask, proxy, "PUT", "/late", b"1")
        wait_until(lambda: "/late" in Handler.stored)
        assert not late.done()
        began = time.monotonic()
        assert ask(proxy, "PUT", "/slow", b"1") == (200, b"")
        assert time.monotonic() - began >= 0.3


def test_a_rate_slows_bodies_down(proxy: FaultProxy) -> None:
    proxy.add(Rule("rate", rate=1_000_000))
    began = time.monotonic()
    assert ask(proxy, "PUT", "/a", b"x" * 300_000)[0] == 200
    assert time.monotonic() - began >= 0.25


def test_rules_fall_due_by_skip_times_and_every(proxy: FaultProxy) -> None:
    proxy.add(rule := Rule("status", match="/a", skip=1, times=2, every=2))
    assert [ask(proxy, "GET", "/a")[0] for _ in range(7)] == [404, 503, 404, 503, 404, 404, 404]
    assert (rule.seen, rule.fired) == (7, 2)


def test_chances_repeat_by_their_seed() -> None:
    def drawn(seed: int) -> list[bool]:
        rule = Rule("reset", probability=0.3, seed=seed)
        return [rule.due("GET /") for _ in range(1000)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 200 < sum(drawn(1)) < 400


def test_bad_weather_fails_the_share_it_was_asked_for_in_every_way() -> None:
    rules = bad_weather(0.3, seed=5)
    hits = [next((rule for rule in rules if rule.due("PUT /a")), None) for _ in range(5000)]
    fired = [rule.fired for rule in rules]
    assert 0.25 < sum(rule is not None for rule in hits) / 5000 < 0.35
    assert min(fired) > 5000 * 0.3 / len(rules) * 0.7
    assert max(fired) < 5000 * 0.3 / len(rules) * 1.3
