"""Which attributes of a Serializable are pickled."""

import copy
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.errors import InvalidInputError, InvalidValueError
from aqrec.serialization import Serializable


class Model(Serializable):
    def __init__(self, **attributes: Any) -> None:
        # No super().__init__(): a subclass need not call it.
        vars(self).update(attributes)


class Choosy(Model):
    include_attr = ("_weights",)
    exclude_attr = ("cache", "_weights")


class Everything(Model):
    default_dump_all = True


class Dilled(Model):
    pickle_backend = "dill"


def kept(obj: Serializable) -> set[str]:
    names = set(vars(pickle.loads(pickle.dumps(obj)))) & set(vars(obj))
    return {name for name in names if not name.startswith("_serializable")}


def test_attributes_with_an_underscore_are_dropped_by_default() -> None:
    assert kept(Model(a=1, _b=2)) == {"a"}


def test_the_class_says_what_to_keep_and_to_drop() -> None:
    assert kept(Choosy(a=1, cache=2, _weights=3, _b=4)) == {"a", "_weights"}


def test_the_objects_own_lists_take_the_place_of_the_classes() -> None:
    obj = Choosy(a=1, cache=2, _weights=3)
    obj.config(include=[], exclude=["a"])
    assert kept(obj) == {"cache"}
    obj.config(exclude=[])
    assert kept(obj) == {"a", "cache"}


def test_dump_all_keeps_all_but_the_excluded() -> None:
    obj = Choosy(a=1, cache=2, _b=3, __c=4)
    obj.config(dump_all=True)
    assert kept(obj) == {"a", "_b", "__c"}


@given(
    st.sets(st.sampled_from(["a", "b", "_c", "_d"])),
    st.none() | st.sets(st.sampled_from(["a", "_c"])),
    st.none() | st.sets(st.sampled_from(["a", "b", "_c", "_d"])),
    st.booleans(),
)
def test_the_first_rule_that_applies_decides(
    names: set[str], include: set[str] | None, exclude: set[str] | None, dump_all: bool
) -> None:
    def rule(name: str) -> bool:
        if name in (include or ()):
            return True
        if name in (exclude or ()):
            return False
        return dump_all or not name.startswith("_")

    obj = Model(**dict.fromkeys(names, 1))
    obj.config(dump_all=dump_all, include=include, exclude=exclude)
    back = pickle.loads(pickle.dumps(obj))
    assert {name for name in names if hasattr(back, name)} == {name for name in names if rule(name)}


@pytest.mark.parametrize("kind", [Model, Everything])
@pytest.mark.parametrize("dump_all", [None, True, False])
def test_dump_all_survives_any_number_of_round_trips(kind: Any, dump_all: bool | None) -> None:
    obj = kind(a=1, _b=2)
    obj.config(dump_all=dump_all)
    expected = kind is Everything if dump_all is None else dump_all
    for _ in range(3):
        assert obj.dump_all is expected
        obj = pickle.loads(pickle.dumps(obj))
        assert hasattr(obj, "_b") is expected
        obj._b = 2


def test_other_rules_are_not_remembered() -> None:
    obj = Model(a=1, b=2)
    obj.config(exclude=["a"])
    back = pickle.loads(pickle.dumps(obj))
    back.a = 1
    assert kept(back) == {"a", "b"}


class Slotted(Serializable):
    __slots__ = ("__secret", "_b", "a", "part", "unset")

    def __init__(self) -> None:
        self.a, self._b, self.__secret, self.part = 1, 2, 3, Model(_c=4)

    def secret(self) -> int:
        return self.__secret


class Frozen(Slotted):
    __slots__ = ("more",)

    def __init__(self) -> None:
        super().__init__()
        self.more, self.usual = [1], {"x": 1}

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError(name)
        super().__setattr__(name, value)


@pytest.mark.parametrize("copied", [copy.copy, lambda obj: pickle.loads(pickle.dumps(obj))])
def test_attributes_in_slots_follow_the_same_rules(copied: Any) -> None:
    obj = Frozen()
    back = copied(obj)
    assert (back.a, back.more, back.usual) == (1, [1], {"x": 1})
    assert [name for name in ("_b", "_Slotted__secret", "unset") if hasattr(back, name)] == []
    obj.config(dump_all=True, exclude=["more"], recursive=True)
    back = copied(obj)
    assert (back.a, back._b, back.secret(), back.part._c) == (1, 2, 3, 4)
    assert [name for name in ("more", "unset") if hasattr(back, name)] == []


def test_a_file_holds_the_object(tmp_path: Path) -> None:
    Model(a=1, _b=2).to_pickle(tmp_path / "m.pkl")
    back = Model.load(str(tmp_path / "m.pkl"))
    assert vars(back) == {"a": 1}
    assert list(tmp_path.iterdir()) == [tmp_path / "m.pkl"]


def test_the_rules_of_one_file_do_not_stay_with_the_object(tmp_path: Path) -> None:
    obj = Model(a=1, _b=2, part=Model(_c=3))
    before = dict(vars(obj))
    obj.to_pickle(tmp_path / "all.pkl", dump_all=True, exclude=["a"], recursive=True)
    assert vars(obj) == before
    assert kept(obj) == {"a", "part"}
    back = Model.load(tmp_path / "all.pkl")
    assert not hasattr(back, "a")
    assert back._b == 2
    assert back.part._c == 3
    assert back.dump_all


def test_the_rules_of_one_file_add_to_those_of_the_object(tmp_path: Path) -> None:
    obj = Model(a=1, b=2, _c=3)
    obj.config(exclude=["a"])
    obj.to_pickle(tmp_path / "m.pkl", dump_all=True)
    assert {"b", "_c"} <= set(vars(Model.load(tmp_path / "m.pkl")))
    assert not hasattr(Model.load(tmp_path / "m.pkl"), "a")


def test_without_recursion_parts_keep_their_own_rules(tmp_path: Path) -> None:
    obj = Model(part=Model(_c=3))
    obj.to_pickle(tmp_path / "m.pkl", dump_all=True)
    assert not hasattr(Model.load(tmp_path / "m.pkl").part, "_c")


def test_recursion_visits_attribute_values_and_theirs_once() -> None:
    inner, listed = Model(_x=1), Model(_x=1)
    outer = Model(middle=Model(inner=inner), listed=[listed])
    inner.outer = outer
    outer.config(recursive=True, dump_all=True)
    assert outer.dump_all
    assert inner.dump_all
    assert not listed.dump_all
    back = pickle.loads(pickle.dumps(outer))
    assert back.middle.inner.outer is back
    assert back.middle.inner._x == 1
    assert not hasattr(back.listed[0], "_x")


def test_two_threads_may_pickle_one_object_by_different_rules(tmp_path: Path) -> None:
    barrier = threading.Barrier(2, timeout=30)

    class Slow:
        def __reduce__(self) -> Any:
            barrier.wait()
            return int, (1,)

    obj = Model(first=Slow(), _b=2, last=Model())
    files = {True: tmp_path / "all", False: tmp_path / "some"}
    threads = [
        threading.Thread(target=obj.to_pickle, args=(path,), kwargs={"dump_all": dump_all})
        for dump_all, path in files.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert hasattr(Model.load(files[True]), "_b")
    assert not hasattr(Model.load(files[False]), "_b")


def test_copies_follow_the_rules() -> None:
    assert set(vars(copy.copy(Model(a=1, _b=2)))) == {"a"}
    assert set(vars(copy.deepcopy(Model(a=1, _b=2)))) == {"a"}


def test_a_file_of_another_class_is_refused(tmp_path: Path) -> None:
    Model(a=1).to_pickle(tmp_path / "m.pkl")
    assert isinstance(Serializable.load(tmp_path / "m.pkl"), Model)
    with pytest.raises(TypeError, match=r"m\.pkl holds a .*Model, not a .*Choosy"):
        Choosy.load(tmp_path / "m.pkl")


def test_a_failed_dump_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    Model(a=1).to_pickle(path)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        Model(a=lambda: 1).to_pickle(path)
    assert Model.load(path).a == 1
    assert list(tmp_path.iterdir()) == [path]
    assert "a" in pickle.loads(pickle.dumps(Model(a=1))).__dict__


def test_dill_takes_what_pickle_does_not(tmp_path: Path) -> None:
    Dilled(f=lambda x: x + 1).to_pickle(tmp_path / "m.pkl")
    assert Dilled.load(tmp_path / "m.pkl").f(1) == 2
    assert Dilled.get_backend() is sys.modules["dill"]
    assert Model.get_backend() is pickle


def test_backends_that_are_unknown_or_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "pickle_backend", "marshal")
    with pytest.raises(InvalidInputError, match="marshal"):
        Model.get_backend()
    monkeypatch.setitem(sys.modules, "dill", None)
    with pytest.raises(InvalidInputError, match=r"aqrec\[dill\]"):
        Dilled.get_backend()


@pytest.mark.parametrize("argument", ["include", "exclude"])
def test_one_text_is_no_list_of_names(argument: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=argument):
        Model().config(**{argument: "abc"})
    with pytest.raises(InvalidValueError, match=argument):
        Model().to_pickle(tmp_path / "m.pkl", **{argument: "abc"})


def test_general_dump_takes_anything(tmp_path: Path) -> None:
    Serializable.general_dump({"a": 1}, tmp_path / "dict.pkl")
    Serializable.general_dump(Model(a=1, _b=2), tmp_path / "model.pkl")
    assert pickle.loads((tmp_path / "dict.pkl").read_bytes()) == {"a": 1}
    assert vars(Model.load(tmp_path / "model.pkl")) == {"a": 1}
