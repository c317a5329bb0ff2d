"""Objects from dicts, and dicts filled and flattened: as in Qlib, without its slips."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from aqrec.errors import InvalidInputError, InvalidValueError, LoadObjectError, UntrustedObjectError
from aqrec.tasks import record_arguments
from aqrec.tasks._records import market_of_qlib, trades
from aqrec.workflow import fill_placeholder, flatten_dict, init_instance_by_config
from tests.workflow import parts
from tests.workflow.parts import LastDay, Mean, NotARecord

PARTS = "tests.workflow.parts"


@pytest.mark.parametrize(
    "config",
    [
        {"class": "Mean", "module_path": PARTS, "kwargs": {"factor": 2.0}},
        {"class": f"{PARTS}.Mean", "kwargs": {"factor": 2.0}},
        {"class": Mean, "kwargs": {"factor": 2.0}},
        {"class": "Mean", "module_path": parts, "kwargs": {"factor": 2.0}},
        {"func": "mean", "module_path": PARTS, "kwargs": {"factor": 2.0}},
    ],
)
def test_each_form_makes_the_object(config: object) -> None:
    made = init_instance_by_config(config)
    assert isinstance(made, Mean)
    assert made.factor == 2.0


def test_a_name_alone_is_enough() -> None:
    assert isinstance(init_instance_by_config(f"{PARTS}.Mean"), Mean)
    assert isinstance(init_instance_by_config("Mean", default_module=PARTS), Mean)
    assert isinstance(init_instance_by_config({"class": "Mean", "kwargs": None}, parts), Mean)


def test_an_object_of_an_accepted_type_is_given_back() -> None:
    model = Mean()
    assert init_instance_by_config(model, accept_types=Mean) is model


def test_a_module_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("class Own:\n    def __init__(self, size): self.size = size\n")
    made = init_instance_by_config({"class": "Own", "module_path": str(file), "kwargs": {"size": 3}})
    assert made.size == 3
    with pytest.raises(InvalidInputError, match="no module file"):
        init_instance_by_config({"class": "Own", "module_path": str(tmp_path / "other.py")})


def test_what_may_be_tried_is_given_to_those_who_have_a_parameter_for_it() -> None:
    record = init_instance_by_config(
        {"class": "LastDay", "kwargs": {"count": 2}},
        PARTS,
        try_kwargs={"model": "m", "dataset": "d", "count": 7},
        recorder=SimpleNamespace(load_object=print),
    )
    assert isinstance(record, LastDay)
    assert (record.model, record.count) == ("m", 2)


def test_an_error_of_the_constructor_is_not_taken_for_a_wrong_argument() -> None:
    """Qlib calls a constructor again without the tried arguments whenever it raises TypeError."""
    calls: list[object] = []

    class Raises:
        def __init__(self, model: object = None) -> None:
            calls.append(model)
            raise TypeError("its own")

    with pytest.raises(TypeError, match="its own"):
        init_instance_by_config({"class": Raises}, try_kwargs={"model": 1})
    assert calls == [1]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"class": "Mean", "module_path": "tests.workflow.nothing"}, "tests.workflow.nothing"),
        ({"class": "Nothing", "module_path": PARTS}, "no 'Nothing'"),
        ({"class": "Mean"}, "module_path"),
        ({"module_path": PARTS}, "no config of an object"),
        (3, "no config of an object"),
    ],
)
def test_what_does_not_exist_is_named(config: object, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        init_instance_by_config(config)


def test_a_pickle_is_loaded_as_far_as_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "object.pkl").write_bytes(pickle.dumps(NotARecord(3)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AQREC_TRUST", raising=False)
    assert init_instance_by_config(f"file://{tmp_path}/plain.pkl") == {"a": 1}
    assert init_instance_by_config("file://plain.pkl") == {"a": 1}
    assert init_instance_by_config(Path("plain.pkl")) == {"a": 1}
    with pytest.raises(UntrustedObjectError):
        init_instance_by_config("file://object.pkl")
    monkeypatch.setenv("AQREC_TRUST", "trusted")
    assert init_instance_by_config("file://object.pkl").size == 3
    with pytest.raises(LoadObjectError, match=r"other\.pkl"):
        init_instance_by_config("file://other.pkl")


def test_placeholders_are_filled_in_place() -> None:
    model = object()
    config = {
        "a": "<MODEL>",
        "b": [{"c": "<MODEL>"}, ["<MODEL>", "x<MODEL>"]],
        "d": {"e": [1, {"f": 5}]},
        "g": "<d.e.1>",
        "h": "<d.e.7> stays",
        "i": ("<MODEL>",),
        "j": "<PRED>",
    }
    assert fill_placeholder(config, {"<MODEL>": model}) is config
    assert config["a"] is model
    assert config["b"] == [{"c": model}, [model, "x<MODEL>"]]
    assert config["g"] == {"f": 5}
    assert (config["h"], config["i"], config["j"]) == ("<d.e.7> stays", ("<MODEL>",), "<PRED>")
    with pytest.raises(InvalidInputError, match="<NAME>"):
        fill_placeholder({}, {"MODEL": 1})


def test_nested_dicts_become_flat() -> None:
    nested = {"a": 1, "b": {"c": {"d": [1, {"e": 2}]}, "f": {}, 3: None}}
    assert flatten_dict(nested) == {"a": 1, "b.c.d": [1, {"e": 2}], "b.3": None}
    assert flatten_dict({"a": {"b": 1}}, sep="/") == {"a/b": 1}


def test_something_else_than_a_config_is_refused() -> None:
    with pytest.raises(InvalidValueError):
        init_instance_by_config(None)


def test_records_trade_on_the_prices_of_qlib_where_qlib_is_at_work(tmp_path: Path) -> None:
    """Unless their config says something else, or they trade on none."""

    class Trades:
        def __init__(self, recorder: object, quotes: object = None, region: str = "cn") -> None: ...

    market = market_of_qlib({"provider_uri": str(tmp_path), "region": "us", "kernels": 1})
    assert market == {"quotes": str(tmp_path), "region": "us"}
    assert market_of_qlib({"provider_uri": {"day": "~/data", "1min": "x"}})["quotes"] == str(
        Path.home() / "data"
    )
    assert market_of_qlib({}) == {}
    assert trades(Trades, {})
    assert not trades(Trades, {"quotes": 1})
    assert not trades(LastDay, {})
    assert record_arguments(Trades, {}, 1, 2, market) == market
    mine = {"quotes": "mine"}
    assert record_arguments(Trades, mine, 1, 2, market) == {"quotes": "mine", "region": "us"}
    assert record_arguments(LastDay, {}, 1, 2, market) == {"model": 1}
