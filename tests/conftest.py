"""What every test gets: property profiles, a guard of the loop, stores to run on, other interpreters."""

import os
import re
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests._support import MINORS, EnvironmentUnavailableError, PythonEnvs, forbid_blocking, no_thread_left
from tests._support.services.fixtures import (  # noqa: F401 - fixtures work by being here
    SERVERS,
    azure_server,
    ceph_server,
    fault_proxy,
    gcs_server,
    gcs_xml_server,
    rclone_s3,
    s3_location,
    s3_server,
)

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

# In CI a skipped test is a failed run, unless its reason is one of these.
SKIPS_ALLOWED_IN_CI = (r"Python 3\.\d+ not found", "Qlib is not installed here: nox -s qlib")

# No deadline anywhere: on a shared machine it measures the neighbours.
settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, print_blob=True)
settings.register_profile(
    "long", max_examples=5_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if IN_CI else "quick"))


def pytest_configure(config: pytest.Config) -> None:
    # Background jobs run with Ctrl-C ignored, under nohup with SIGHUP ignored, and children inherit that: tests of these
    # signals would wait for ever.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    for marker in (
        "blocks_loop(reason): this async test may block its event loop, for the reason given",
        "no_blocking: guard this synchronous test as async tests are guarded",
        "soak: long crash, fuzz and load tests; run with `nox -s soak`",
    ):
        config.addinivalue_line("markers", marker)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    soaking = os.environ.get("HYPOTHESIS_PROFILE") == "long" or "soak" in (config.option.markexpr or "")
    chosen: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        # The first test to ask for an interpreter or a server waits for its packages to be installed.
        wanted = {*getattr(item, "fixturenames", ()), getattr(getattr(item, "cls", None), "server", "")}
        wanted.update(_servers_of(item))
        if wanted & {"each_python", *SERVERS} and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1200))
        (left_out if item.get_closest_marker("soak") and not soaking else chosen).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = chosen


def _servers_of(item: pytest.Item) -> set[str]:
    """Return the names of servers that a test's parameters ask for."""
    params = getattr(getattr(item, "callspec", None), "params", {}).values()
    return {name for value in params if isinstance(name := getattr(value, "server", value), str)}


# --- a skip is no pass in CI --------------------------------------------------------------------------------

_skipped: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
        _skipped[report.nodeid] = report.longrepr[2].removeprefix("Skipped: ")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        _skipped[report.nodeid] = report.longrepr[2].removeprefix("Skipped: ")


def _forbidden_skips() -> dict[str, str]:
    if not IN_CI:
        return {}
    return {
        node: reason
        for node, reason in _skipped.items()
        if not any(re.match(pattern, reason) for pattern in SKIPS_ALLOWED_IN_CI)
    }


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and _forbidden_skips():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if forbidden := _forbidden_skips():
        terminalreporter.section("skipped, which fails a run in CI", red=True)
        for node, reason in forbidden.items():
            terminalreporter.line(f"{node}: {reason}")


# --- event loops and threads --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_blocking(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make aqrec's blocking calls on the loop of an async test errors; see `forbid_blocking`.

    Synchronous tests that start loops of their own ask for it with ``@pytest.mark.no_blocking``.
    """
    node = request.node
    wanted = node.get_closest_marker("asyncio") or node.get_closest_marker("no_blocking")
    if wanted and not node.get_closest_marker("blocks_loop"):
        with forbid_blocking():
            yield
    else:
        yield


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    """Fail the test if a thread it started outlives it; the loop's own executor threads do not count."""
    with no_thread_left(allowed=("asyncio_",)):
        yield


# --- stores -------------------------------------------------------------------------------------------------


@pytest.fixture
def local_url(tmp_path: Path) -> str:
    """URL of a local store that does not exist yet."""
    return (tmp_path / "store").as_uri()


@pytest.fixture
def memory_url() -> str:
    """URL of an in-memory store nobody else uses."""
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture(params=["local", "memory"])
def store_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty store, once per kind that needs no service."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


# --- other interpreters -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def python_envs() -> PythonEnvs:
    """Environments with the run-time dependencies, made when first asked for."""
    return PythonEnvs()


@pytest.fixture(params=MINORS, ids="py{}".format)
def each_python(request: pytest.FixtureRequest, python_envs: PythonEnvs) -> Path:
    """Each supported interpreter found here, able to import aqrec: `run_script(..., python=each_python)`.

    Skips what is not installed. An interpreter that is there but cannot be given the dependencies is skipped
    too, with the reason, and fails in CI.
    """
    try:
        return python_envs.get(request.param)
    except (LookupError, EnvironmentUnavailableError) as error:
        pytest.skip(str(error))
