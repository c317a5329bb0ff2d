"""What a server for tests is: installed once, started on a free port, waited for, and always stopped.

A new server derives from `Service` and gives four things::

    class Example(Service):
        name = "example"
        scheme = "s3"

        def install(self) -> None: ...  # at most once a machine: called under a lock, returns at once if it is there
        def launch(self) -> None: ...  # self.spawn([...]): serve self.port, keep data below self.folder
        def options(self, endpoint: str) -> dict[str, Any]: ...  # storage_options for a client of that endpoint
        def make_bucket(self, name: str) -> None: ...

and perhaps `why_not` (what this machine lacks) and `ready_path`. A fixture is two lines, see `fixtures.py`.
"""

import abc
import contextlib
import fcntl
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from tests._support.scripts import ROOT

__all__ = ["Location", "Service", "ServiceUnavailableError", "free_ports", "run_installer", "tools_folder"]

START_TIMEOUT = 90
STOP_TIMEOUT = 10
INSTALL_TIMEOUT = 900
ATTEMPTS = 3
BUCKET = "aqrec-tests"

# Becomes the server, which the kernel then kills when the thread that started it ends (1 is PR_SET_PDEATHSIG).
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
_SHIM = (sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT)


class ServiceUnavailableError(Exception):
    """The server cannot run here; the message says why."""


@dataclass(frozen=True)
class Location:
    """A place in a server that nobody else uses.

    Attributes
    ----------
    url
        For example ``s3://bucket/prefix``.
    storage_options
        What `aqrec.stores.open_store` needs beside it.
    """

    service: "Service"
    bucket: str
    prefix: str
    endpoint: str

    @property
    def url(self) -> str:
        return f"{self.service.scheme}://{self.bucket}/{self.prefix}"

    @property
    def storage_options(self) -> dict[str, Any]:
        return self.service.options(self.endpoint)

    def through(self, endpoint: str) -> "Location":
        """Return the same place as reached by way of a proxy."""
        return replace(self, endpoint=endpoint)


class Service(abc.ABC):
    """One server; a context manager that starts and stops it.

    `start` raises `ServiceUnavailableError` where the server cannot run or be installed, and ``RuntimeError`` with the end of
    its log where it does not become ready.
    """

    name: ClassVar[str]
    scheme: ClassVar[str]
    ready_path: ClassVar[str] = "/"

    def __init__(self) -> None:
        self.port = 0
        self.folder = Path()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._running = False

    # --- what a server gives --------------------------------------------------------------------------------

    def why_not(self) -> str:
        """Return what this machine lacks to install or run the server, "" if nothing."""
        return ""

    @abc.abstractmethod
    def install(self) -> None:
        """Put what is needed on this machine, if it is not there; raises `ServiceUnavailableError`."""

    @abc.abstractmethod
    def launch(self) -> None:
        """Spawn the processes; the last one serves `port`."""

    @abc.abstractmethod
    def options(self, endpoint: str) -> dict[str, Any]:
        """Return the storage options of a client of that endpoint."""

    @abc.abstractmethod
    def make_bucket(self, name: str) -> None:
        """Make a bucket or container."""

    # --- what its users call --------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:port``."""
        return f"http://127.0.0.1:{self.port}"

    def location(self) -> Location:
        """Return a fresh, empty place."""
        return Location(self, BUCKET, uuid.uuid4().hex, self.endpoint)

    def start(self) -> None:
        """Install if needed, start, and wait until it answers and has a bucket."""
        if reason := self.why_not():
            raise ServiceUnavailableError(f"{self.name}: {reason}")
        with _locked(tools_folder() / f"{self.name}.lock"):
            self.install()
        for attempt in range(ATTEMPTS):
            # The port is asked for and given back, so another process may take it in between: then once more.
            (self.port,) = free_ports(1)
            self.folder = Path(tempfile.mkdtemp(prefix=f"aqrec-{self.name}-"))
            try:
                self.launch()
                self._await_ready()
                self.make_bucket(BUCKET)
            except BaseException as error:
                log = self.log_tail()
                self.stop()
                if not isinstance(error, Exception) or attempt == ATTEMPTS - 1:
                    raise RuntimeError(f"{self.name} did not start: {error}\n{log}") from error
            else:
                self._running = True
                return

    def stop(self) -> None:
        """End its processes, the last one first, and remove its data. May be called twice."""
        self._running = False
        while self._processes:
            process = self._processes.pop()
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = Path()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- what `launch` calls --------------------------------------------------------------------------------

    def spawn(self, command: Sequence[str | Path], **env: str) -> None:
        """Start a process that is stopped with the service, and dies with this one if that is killed."""
        with self._log.open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [*_SHIM, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env={**os.environ, **env},
                    start_new_session=True,
                )
            )

    def call(self, command: Sequence[str | Path], **env: str) -> None:
        """Run a command to its end, which must be a good one."""
        with self._log.open("ab") as log:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **env},
                timeout=START_TIMEOUT,
                check=True,
            )

    def wait_for(self, condition: Any, what: str) -> None:
        """Wait until `condition()` is true; fail early when a process has died."""
        deadline = time.monotonic() + START_TIMEOUT
        while not condition():
            for number, process in enumerate(self._processes, 1):
                if process.poll() is not None:
                    raise RuntimeError(f"its process {number} ended with {process.returncode}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} did not happen within {START_TIMEOUT} s")
            time.sleep(0.05)

    def log_tail(self) -> str:
        """Return the end of what the processes printed."""
        try:
            return self._log.read_text(encoding="utf-8", errors="replace")[-3000:]
        except OSError:
            return ""

    # --- inner ----------------------------------------------------------------------------------------------

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"

    def _await_ready(self) -> None:
        self.wait_for(self._answers, f"an answer from {self.endpoint}{self.ready_path}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", self.ready_path)
            return connection.getresponse().status < 500
        except OSError:
            return False
        finally:
            connection.close()


def tools_folder() -> Path:
    """Return where servers are installed: ``$AQREC_TEST_TOOLS``, or ``.cache/services`` in the project."""
    folder = Path(os.environ.get("AQREC_TEST_TOOLS") or ROOT / ".cache" / "services")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def free_ports(number: int) -> list[int]:
    """Return ports of the loopback interface that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def run_installer(name: str, command: Sequence[str | Path], **env: str) -> None:
    """Run a package manager; what goes wrong means that the service is not available."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT,
            check=False,
            env={**os.environ, **env},
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceUnavailableError(f"{name}: cannot be installed: {error}") from error
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        raise ServiceUnavailableError(f"{name}: cannot be installed: {reason}")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
