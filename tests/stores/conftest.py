"""What the file system is made to do in these tests."""

import pytest


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what only a power loss would show, where other tests look at it."""
    monkeypatch.setattr("os.fsync", lambda fd: None)
    monkeypatch.setattr("os.fdatasync", lambda fd: None)


@pytest.fixture
def no_nameless_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the file system refuse files without a name."""
    monkeypatch.setattr("aqrec.stores._scratch._O_TMPFILE", 0)


@pytest.fixture(params=["nameless", "named"])
def unfinished_files(request: pytest.FixtureRequest) -> str:
    """Run the test with both kinds of unfinished files."""
    kind: str = request.param
    if kind == "named":
        request.getfixturevalue("no_nameless_files")
    return kind
