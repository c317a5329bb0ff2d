"""Importing the package stays light."""

from pathlib import Path

import pytest

from tests._support import run_script

HEAVY = {
    "duckdb",
    "fsspec",
    "jinja2",
    "matplotlib",
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "rich",
    "ruamel",
    "scipy",
    "typer",
    "yaml",
}


@pytest.mark.parametrize(
    "statement",
    [
        "import aqrec",
        "from aqrec import R",
        "from aqrec.sync import R",
        "from aqrec import ExperimentManager, Recorder, open_recorder",
        "import aqrec.errors, aqrec.options, aqrec.stores",
    ],
)
def test_importing_loads_no_heavy_module(statement: str) -> None:
    loaded = run_script(f"{statement}\nimport sys\nprint(*sys.modules)").check().stdout.split()
    assert HEAVY & set(loaded) == set()


def test_importing_starts_no_thread_and_changes_no_signal_handler() -> None:
    code = """
        import signal, threading

        def state():
            return threading.enumerate(), [signal.getsignal(number) for number in signal.valid_signals()]

        before = state()
        from aqrec import R
        from aqrec.sync import R
        assert state() == before
    """
    run_script(code).check()


def test_the_package_imports_without_warnings_on_each_python(each_python: Path) -> None:
    run_script("import aqrec\nfrom aqrec.sync import R", python=each_python, options=["-W", "error"]).check()
