"""Importing the stores is cheap."""

from tests._support import run_script


def test_importing_the_stores_loads_nothing_that_only_some_calls_need() -> None:
    """Compared with what the package's other layers need anyway."""
    code = """
        import sys
        import msgspec, pathlib, threading, urllib.parse, zlib
        before = set(sys.modules)
        sys.modules["aqrec"] = type(sys)("aqrec")  # its own imports are other tests' business
        sys.modules["aqrec"].__path__ = [sys.argv[1]]
        import aqrec.stores
        print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
    """
    import aqrec

    loaded = run_script(code, aqrec.__path__[0]).check().stdout.split()
    assert set(loaded) <= {"aqrec"}
