"""Workflow files: YAML 1.2, environment variables, base files."""

import contextlib
import datetime as dt
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.errors import InvalidInputError, InvalidWorkflowError
from aqrec.tasks._documents import Document
from aqrec.tasks._reading import read

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file and return its path."""

    def make(text: str, name: str = "w.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return make


def problems(path: Path) -> list[tuple[int | None, str, str]]:
    with pytest.raises(InvalidWorkflowError) as caught:
        read(path)
    return [(problem.line, problem.key, problem.text) for problem in caught.value.problems]


def test_scalars_are_those_of_yaml_1_2(write: Write) -> None:
    """`yes` and `no` are text, 010 is ten, 1e-3 a number and a day a date, as qrun reads them."""
    path = write(
        "a: yes\nb: 010\nc: 0o10\nd: 1e-3\ne: 2017-01-02\nf: ~\ng: .nan\nh: 'x'\ni: true\nj: 12:30:00\n"
    )
    found = read(path).tree.plain()
    assert found.pop("g") != found.get("g")
    assert found == {
        "a": "yes",
        "b": 10,
        "c": 8,
        "d": 0.001,
        "e": dt.date(2017, 1, 2),
        "f": None,
        "h": "x",
        "i": True,
        "j": "12:30:00",
    }


def test_aliases_and_merge_keys_are_filled_in(write: Write) -> None:
    document = read(write("a: &x {k: 1, l: [1, 2]}\nb: *x\nc:\n  <<: *x\n  k: 2\n  m: 3\n"))
    assert document.tree.plain() == {
        "a": {"k": 1, "l": [1, 2]},
        "b": {"k": 1, "l": [1, 2]},
        "c": {"k": 2, "l": [1, 2], "m": 3},
    }
    assert document.anchored("a")
    assert line(document, "c", "l") == 1
    assert line(document, "c", "m") == 6


def line(document: Document, *path: object, key: bool = False) -> int:
    place = document.place(path, key=key)
    assert place is not None
    return place.line


def test_every_key_and_value_knows_its_line(write: Write) -> None:
    document = read(write("a:\n  - b: 1\n    c:\n      2\n"))
    assert line(document, "a", 0, "c", key=True) == 3
    assert line(document, "a", 0, "c") == 4
    assert line(document, "a", 0, "gone") == 2


def test_environment_variables_are_filled_in(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "/data")
    monkeypatch.delenv("NOWHERE", raising=False)
    path = write('a: "{{ WHERE }}/cn"\nb: "{{ NOWHERE }}"\nc: {{ NOWHERE | default(3) }}\n{# gone #}\n')
    assert read(path).tree.plain() == {"a": "/data/cn", "b": "", "c": 3}


def test_what_was_filled_in_is_not_quoted(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message may end up in a log, and a variable may be a password."""
    monkeypatch.setenv("PASSWORD", "hunter2: [")
    with pytest.raises(InvalidWorkflowError) as caught:
        read(write("a: {{ PASSWORD }}\n"))
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str(caught.value.problems)


def test_lines_are_those_of_the_file_whatever_jinja_makes_of_them(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAMES", "[A,\nB]")
    monkeypatch.delenv("NOWHERE", raising=False)
    text = (
        "{# of\n   three\n   lines #}\n"
        "a: {{ NOWHERE }}\n"
        "{%- if true %}\nb:\n"
        "{% for name in 'xyz' %}\n  {{ name }}: 1\n{% endfor -%}\n\n\n{% endif %}\n"
        "names: {{ NAMES }}\n"
        "{% set n = {\n  'k': 3\n} %}\n"
        "last: {{ n.k }}\n"
    )
    document = read(write(text))
    tree = document.tree.plain()
    assert tree == {"a": None, "b": {"x": 1, "y": 1, "z": 1}, "names": ["A", "B"], "last": 3}
    lines = text.splitlines()
    for key, start in (("a", "a:"), ("b", "b:"), ("names", "names:"), ("last", "last:")):
        place = document.place((key,), key=True)
        assert place is not None
        assert (place.line, place.source) == (
            next(n for n, line in enumerate(lines, 1) if line.startswith(start)),
            lines[place.line - 1],
        )
    nothing, inside, beyond = (document.place(path) for path in (("a",), ("b", "z"), ("names", 1)))
    assert (nothing.line, inside.line, beyond.line) == (4, 8, 13)  # type: ignore[union-attr]


def test_a_value_that_is_missing_is_told_where_its_key_is(write: Write) -> None:
    document = read(write("a:\n\n# more\nb: {c: , d: 1}\n"))
    assert document.place(("a",)).line == 1  # type: ignore[union-attr]
    assert document.place(("b", "c")).line == 4  # type: ignore[union-attr]


def test_a_template_cannot_leave_its_sandbox(write: Write) -> None:
    [(_, _, text)] = problems(write("a: {{ ''.__class__.__mro__ }}\n"))
    assert "unsafe" in text


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("a: [1\nb: 2\n", 2, "flow sequence"),
        ("a: b: c\n", 1, "mapping values"),
        ("a: *nothing\n", 1, "undefined alias"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "tag"),
        ("a: 2017-02-31\n", 1, "day"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", 4, "twice"),
        ("? [a]\n: 1\n", 1, "a key must be"),
        ("a: &a [*a]\n", 1, "nested deeper"),
        ("a: {{ x\n", 1, "Jinja"),
        ("a: 1\nb: {% for %}\n", 2, "Jinja"),
        ("a: 1\nb: {{ NOWHERE.x }}\n", 2, "'NOWHERE' is undefined"),
        ("a: 1\n\nb: {{ 1 / 0 }}\n", 3, "ZeroDivisionError"),
        ("BASE_CONFIG_PATH: nothing.yaml\n", 1, "no such file"),
        ("\nBASE_CONFIG_PATH: w.yaml\n", 2, "its own base"),
        ("BASE_CONFIG_PATH: [3]\n", 1, "expected the path"),
    ],
)
def test_what_cannot_be_read_is_shown_with_its_line(write: Write, text: str, at: int, words: str) -> None:
    [(found, _, message)] = problems(write(text))
    assert found == at
    assert words in message


def test_several_slips_are_told_at_once(write: Write) -> None:
    found = problems(write("a: 1\na: 2\nb: !x 1\nc: 2017-13-01\n"))
    assert [where for where, _, _ in found] == [2, 3, 4]


def test_a_few_lines_cannot_stand_for_millions_of_values(write: Write) -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 8))
    [(_, _, message)] = problems(write(text))
    assert "200,000" in message


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(InvalidInputError, match="UTF-8"):
        read(tmp_path / "w.yaml")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing.yaml")


def test_a_base_file_lies_below(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Dicts are merged key by key, lists replaced, and __DROP__ deletes."""
    write("a: 1\nb: {c: 1, d: 2, e: {f: 3}}\ng: [1, 2]\n", "base/base.yaml")
    own = write(
        "BASE_CONFIG_PATH: ../base/base.yaml\nb: {d: __DROP__, e: {h: 4}}\ng: [3]\nz: __DROP__\n",
        "own/w.yaml",
    )
    expected = {"a": 1, "b": {"c": 1, "e": {"f": 3, "h": 4}}, "g": [3]}
    document = read(own)
    assert document.tree.plain() == expected
    assert document.place(("a",)).file.endswith("base.yaml")  # type: ignore[union-attr]
    assert document.place(("g",)).file.endswith("w.yaml")  # type: ignore[union-attr]
    # The current folder comes first.
    write("a: 5\n", "here/near.yaml")
    write("a: 6\n", "own/near.yaml")
    second = write("BASE_CONFIG_PATH: near.yaml\n", "own/v.yaml")
    monkeypatch.chdir(tmp_path / "here")
    assert read(second).tree.plain()["a"] == 5
    assert read({"BASE_CONFIG_PATH": "near.yaml", "a": "__DROP__"}).tree.plain() == {}
    assert read({"BASE_CONFIG_PATH": "near.yaml", "b": 1}, recorded=True).tree.plain() == {"b": 1}


def test_a_dict_is_copied() -> None:
    shared = object()
    config = {"a": {"b": [1, {"c": shared}]}}
    copy = read(config).tree.plain()
    assert copy == config
    assert copy["a"]["b"][1]["c"] is shared
    copy["a"]["b"][1]["c"] = 2
    assert config["a"]["b"][1]["c"] is shared


@given(st.text(alphabet="ab:-[]{}&*!<>?|#'\" \n\t%{}\\~,12", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        with contextlib.suppress(InvalidWorkflowError):
            read(file.name)
