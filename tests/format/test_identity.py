"""Ids, clocks, names and keys: unique, ordered, and never outside their folder."""

import os
import posixpath
import re
import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.errors import InvalidNameError
from aqrec.format import _ids as ids
from aqrec.format import _layout as layout
from aqrec.format._ids import HybridClock, experiment_id, new_id, now_ms
from aqrec.format._names import check_artifact_path, check_key_name, check_name, check_run_id
from aqrec.stores import check_key

# --- ids


def test_ids_are_uuid7_in_the_order_they_were_made() -> None:
    made = [new_id() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    parsed = uuid.UUID(made[0])
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert abs((parsed.int >> 80) - now_ms()) < 60_000
    assert re.fullmatch("[0-9a-f]{32}", made[0])


def test_threads_never_get_the_same_id() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into.extend(new_id() for _ in range(5_000))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({identity for into in made for identity in into}) == 20_000
    assert all(into == sorted(into) for into in made)


def test_ids_stay_in_order_when_the_wall_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([5_000, 4_000, 4_000, 5_001, 1])
    monkeypatch.setattr(ids, "now_ms", lambda: next(times) + 10**13)
    made = [new_id() for _ in range(5)]
    assert made == sorted(made)
    monkeypatch.undo()
    ids._identities.last = 0


def test_a_forked_child_makes_ids_of_its_own() -> None:
    reader, writer = os.pipe()
    held = ids._identities.lock  # held by some other thread at the moment of the fork
    held.acquire()
    try:
        child = os.fork()
        if child == 0:
            os.write(writer, "".join(new_id() for _ in range(50)).encode())
            os._exit(0)
    finally:
        held.release()
    os.close(writer)
    theirs = os.read(reader, 50 * 32).decode()
    os.close(reader)
    assert os.waitpid(child, 0)[1] == 0
    made = [theirs[at : at + 32] for at in range(0, len(theirs), 32)] + [new_id() for _ in range(50)]
    assert len(set(made)) == 100


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_experiment_ids_depend_on_the_name_alone(name: str) -> None:
    assert experiment_id(name) == experiment_id(name)
    assert re.fullmatch("[0-9a-f]{16}", experiment_id(name))
    assert experiment_id(name) != experiment_id(name + "x")


# --- clock


@given(st.lists(st.none() | st.integers(-5, 5), max_size=30))
def test_the_clock_rises_strictly_and_passes_what_it_has_seen(seen: list[int | None]) -> None:
    clock = HybridClock()
    last = 0
    for ahead in seen:
        if ahead is not None:
            other = (now_ms() + ahead * 1000) << 16
            clock.observe(other)
            last = max(last, other)
        value = clock.now()
        assert value > last
        last = value


def test_a_clock_far_in_the_future_drags_nobody_along() -> None:
    clock = HybridClock()
    clock.observe((now_ms() + 400 * 86_400_000) << 16)
    assert abs((clock.now() >> 16) - now_ms()) < 60_000


def test_the_clock_rises_while_the_wall_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HybridClock()
    times = iter([100, 90, 90, 101, 3])
    monkeypatch.setattr(ids, "now_ms", lambda: next(times))
    values = [clock.now() for _ in range(5)]
    assert values == sorted(set(values))


def test_threads_never_get_the_same_clock() -> None:
    clock = HybridClock()
    seen: list[list[int]] = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda into=into: into.extend(clock.now() for _ in range(5_000)))
        for into in seen
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({value for into in seen for value in into}) == 20_000


# --- names


@pytest.mark.parametrize("run_id", ["a", "0", "A-b_c", "x" * 256, "lauf-ä", "a数1", "0190c0ffee"])
def test_legal_run_ids(run_id: str) -> None:
    assert check_run_id(run_id) == run_id
    check_key(layout.run_document_key(run_id))


@pytest.mark.parametrize(
    "run_id",
    ["", "-a", "_a", "ä", ".", "..", "a/b", "a\\b", "a.b", "a b", "a\n", "a\x00", "x" * 257, None, 7, b"a"],
)
def test_illegal_run_ids(run_id: str) -> None:
    with pytest.raises(InvalidNameError, match="recorder id"):
        check_run_id(run_id)


RUN_IDS = st.from_regex(r"[A-Za-z0-9][\w-]{0,255}", fullmatch=True)


@given(RUN_IDS, RUN_IDS)
def test_two_runs_never_share_a_folder(one: str, other: str) -> None:
    assert check_run_id(one) == one
    same_folder = layout.artifacts_folder(one) == layout.artifacts_folder(other)
    assert same_folder == (one == other)


@given(RUN_IDS)
def test_keys_of_a_run_are_legal_for_every_store(run_id: str) -> None:
    writer = new_id()
    for key in (
        layout.run_document_key(run_id),
        layout.metrics_key(run_id, None, 0),
        layout.metrics_key(run_id, writer, 10**6),
        layout.artifact_key(run_id, "a/b.pkl"),
    ):
        assert check_key(key) == key
        assert key.startswith(posixpath.dirname(layout.artifacts_folder(run_id)) + "/")


ESCAPES = [
    "",
    "/",
    "//",
    ".",
    "..",
    "../x",
    "a/../b",
    "a/..",
    "./a",
    "a/./b",
    "/etc/passwd",
    "a//b",
    "a\\b",
    "..\\x",
    "a\x00b",
    "a\nb",
    "a\x7f",
    "a\x85b",
    "\ud800",
    "a/" + "n" * 256,
    "ä" * 128,
    "a/" * 600 + "a",
    "x/../../../../../../etc/passwd",
]


@pytest.mark.parametrize("path", ESCAPES, ids=lambda path: ascii(path)[:24])
def test_paths_that_leave_the_folder_or_cannot_be_stored_are_refused(path: str) -> None:
    with pytest.raises(InvalidNameError, match="artifact path"):
        check_artifact_path(path)


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("", "is empty"),
        ("/etc/passwd", "begins with '/'"),
        ("a//b", "nothing between two of its '/'"),
        ("a/../b", "has the part '..'"),
        ("a\\b", "a backslash"),
        ("a\nb", r"the control character '\\n'"),
        ("\ud800", "surrogate"),
        ("a/" + "x" * 256, "a part of 256 bytes"),
        ("abc/" * 201, "has 803 bytes; a path may have 800"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_what_is_wrong_with_a_path_is_told_and_nothing_else(path: str, rule: str) -> None:
    with pytest.raises(InvalidNameError, match=rule) as caught:
        check_artifact_path(path)
    assert len(str(caught.value)) < 400


def test_long_values_are_shown_by_their_beginning() -> None:
    """Of any type, and whatever the rule."""
    long = "x" * 100_000
    for call in (
        lambda: check_artifact_path(long),
        lambda: check_artifact_path(long.encode()),  # type: ignore[arg-type]
        lambda: check_run_id(long),
        lambda: check_key_name("metric", long),
        lambda: check_name("experiment", [long]),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidNameError, match="xxx") as caught:
            call()
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("path", [None, 3, b"a"])
def test_paths_are_text(path: str) -> None:
    with pytest.raises(InvalidNameError, match="must be text"):
        check_artifact_path(path)


@given(
    st.text(max_size=40) | st.text("ab./\\ä\x85\0", max_size=12) | st.text("ab/", min_size=700, max_size=1010)
)
def test_an_accepted_path_stays_below_the_run_and_is_legal_for_every_store(path: str) -> None:
    try:
        clean = check_artifact_path(path)
    except InvalidNameError:
        return
    for run_id in ("r", "x" * 200, "ä" * 256):
        key = layout.artifact_key(run_id if run_id[0] != "ä" else "a" + run_id[1:], clean)
        root = layout.artifacts_folder(run_id if run_id[0] != "ä" else "a" + run_id[1:])
        assert posixpath.normpath(key) == key
        assert key.startswith(root + "/")
        assert check_key(key) == key


def test_a_trailing_slash_is_cut_and_the_root_only_where_it_makes_sense() -> None:
    assert check_artifact_path("a/b/") == "a/b"
    assert check_artifact_path("", allow_root=True) == ""
    assert check_artifact_path("/", allow_root=True) == ""
    with pytest.raises(InvalidNameError):
        check_artifact_path("..", allow_root=True)


@pytest.mark.parametrize("key", ["loss", "train/loss:0", "ä ö", "a'b\"c", "$1", "x" * 1000, "=cmd"])
def test_keys_may_hold_any_printable_character(key: str) -> None:
    assert check_key_name("metric", key) == key


@pytest.mark.parametrize("key", ["", "a\nb", "\x00", "x" * 1001, "\ud800", 3, None])
def test_keys_without_text_or_with_control_characters_are_refused(key: str) -> None:
    with pytest.raises(InvalidNameError, match="metric key"):
        check_key_name("metric", key)


@pytest.mark.parametrize("name", ["", "  ", "a\tb", "x" * 1001, "\udc00", 3, None])
def test_names_without_printable_text_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError, match="experiment name"):
        check_name("experiment", name)


# --- layout


def test_the_writer_of_an_event_log_is_read_from_its_key() -> None:
    identity, writer = new_id(), new_id()
    key = layout.event_log_key(identity, writer)
    assert layout.writer_of_event_log(key) == writer
    for foreign in (key + "~", "x" + key, key.replace(".ev", ".tmp"), "catalog/events/notes.txt", key + "\n"):
        assert layout.writer_of_event_log(foreign) is None


def test_keys_sort_by_number_and_writers_have_folders_of_their_own() -> None:
    writer = new_id()
    keys = [layout.journal_key(writer, number) for number in (0, 9, 10, 99_999_999)]
    assert keys == sorted(keys)
    assert all(posixpath.dirname(key) == layout.journal_folder(writer) for key in keys)
    assert len({layout.metrics_key("r", w, n) for w in (None, writer) for n in range(3)}) == 4
