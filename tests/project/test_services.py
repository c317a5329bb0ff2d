"""The servers that tests run on come up, are told apart, and go away."""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests._support import ROOT, wait_until
from tests._support.services import Location, Moto, Service, ServiceUnavailableError, s3_client
from tests._support.services.fixtures import running


def create(location: Location, key: str, data: bytes) -> bool:
    """Put an object that must not exist; tell whether the server took it."""
    import botocore.exceptions

    try:
        s3_client(location).put_object(
            Bucket=location.bucket, Key=f"{location.prefix}/{key}", Body=data, IfNoneMatch="*"
        )
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "PreconditionFailed":
            raise
        return False
    return True


def test_a_server_keeps_what_it_was_given_and_honours_create(s3_location: Location) -> None:
    assert create(s3_location, "key", b"first")
    assert not create(s3_location, "key", b"second")
    stored = s3_client(s3_location).get_object(Bucket=s3_location.bucket, Key=f"{s3_location.prefix}/key")
    assert stored["Body"].read() == b"first"


def test_rclone_ignores_conditions(rclone_s3: Service) -> None:
    location = rclone_s3.location()
    assert create(location, "key", b"first")
    assert create(location, "key", b"second")


def test_places_in_a_server_are_all_different(s3_server: Service) -> None:
    one, other = s3_server.location(), s3_server.location()
    assert one.url != other.url
    assert one.storage_options == other.storage_options
    assert one.through("http://127.0.0.1:1").storage_options["endpoint_url"] == "http://127.0.0.1:1"


class Example(Service):
    """Python's own web server."""

    name = "example"
    scheme = "http"
    code = "import http.server, sys; http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]))"

    def install(self) -> None:
        pass

    def launch(self) -> None:
        self.spawn([sys.executable, "-c", self.code, str(self.port)])

    def options(self, endpoint: str) -> dict[str, Any]:
        return {}

    def make_bucket(self, name: str) -> None:
        (self.folder / name).mkdir()


def status(port: int) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def test_a_service_is_up_inside_its_block_and_leaves_nothing() -> None:
    with Example() as server:
        folder, port = server.folder, server.port
        assert status(port) == 200
        assert folder.is_dir()
    assert status(port) is None
    assert not folder.exists()


def test_a_service_is_stopped_when_its_user_fails() -> None:
    server = Example()

    def use() -> None:
        with server:
            raise KeyError(server.port)

    with pytest.raises(KeyError) as caught:
        use()
    assert status(caught.value.args[0]) is None


def test_a_service_that_ends_at_once_shows_what_it_printed(tmp_path: Path) -> None:
    class Broken(Example):
        code = "raise SystemExit('no such wheel')"

    server = Broken()
    with pytest.raises(RuntimeError, match=r"(?s)example did not start.*no such wheel"):
        server.start()
    assert server.folder == Path()


def test_a_service_that_cannot_run_says_why_and_its_tests_are_skipped() -> None:
    class Impossible(Example):
        def why_not(self) -> str:
            return "needs a wheel"

    with pytest.raises(ServiceUnavailableError, match="example: needs a wheel"):
        Impossible().start()
    fixture: Iterator[Service] = running(Impossible())
    with pytest.raises(pytest.skip.Exception, match="example: needs a wheel"):
        next(fixture)


def test_a_service_dies_with_the_process_that_started_it() -> None:
    code = (
        "from tests.project.test_services import Example\n"
        "server = Example(); server.start()\n"
        "print(server.port, server.folder, flush=True); input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    port, folder = parent.stdout.readline().split()
    try:
        assert status(int(port)) == 200
        parent.send_signal(signal.SIGKILL)
        wait_until(lambda: status(int(port)) is None, what="the end of the server")
    finally:
        parent.kill()
        parent.communicate()
        subprocess.run(["rm", "-rf", folder], check=True)


def test_moto_names_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "dependency group 'test'" in Moto().why_not()
