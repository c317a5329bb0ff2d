"""What a search may be asked for beside its filter: form, columns, pages; see `test_table` for what is in the tables."""

import base64
import json
import sys

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import aqrec
from aqrec.errors import InvalidInputError
from aqrec.options import Options
from aqrec.sync import Experiment, ExperimentManager, Recorder
from tests._support import run_script

QUICK = Options(provenance=False, upkeep="never")


def record(manager: ExperimentManager, number: int) -> Recorder:
    experiment = manager.get_exp(experiment_name=f"lab{number % 2}")
    with experiment.create_recorder(f"trial-{number}") as recorder:
        recorder.log_params(
            depth=number, model="tree" if number % 2 else "ridge", mixed=number if number % 2 else [number]
        )
        recorder.log_metrics(step=0, ic=0.5)
        recorder.log_metrics(step=1, ic=number / 10)
    return recorder


@pytest.fixture
def manager(memory_url: str) -> ExperimentManager:
    """Ten runs, six of them in a snapshot."""
    manager = ExperimentManager(memory_url, options=QUICK)
    with manager:
        for number in range(6):
            record(manager, number)
        manager.compact(grace=0)
        for number in range(6, 10):
            record(manager, number)
        yield manager


def test_the_same_search_in_every_form(manager: ExperimentManager) -> None:
    query = {"filter_string": "params.depth >= 3", "order_by": ["params.depth DESC"], "max_results": 5}
    frame = manager.search_records(**query)
    table = manager.search_records(**query, output_format="arrow")
    polars = manager.search_records(**query, output_format="polars")
    recorders = manager.search_records(**query, output_format="recorders")
    assert isinstance(frame, pd.DataFrame)
    assert isinstance(table, pa.Table)
    assert isinstance(polars, pl.DataFrame)
    assert frame["params.depth"].tolist() == [9, 8, 7, 6, 5]
    for other in (table["params.depth"].to_pylist(), polars["params.depth"].to_list()):
        assert other == [9, 8, 7, 6, 5]
    assert polars["params.mixed"].dtype == pl.String
    assert frame["params.mixed"].tolist() == [9, [8], 7, [6], 5]
    assert polars["params.mixed"].to_list() == ["9", "[8]", "7", "[6]", "5"]
    assert [type(recorder) for recorder in recorders] == [Recorder] * 5
    assert [recorder.id for recorder in recorders] == frame["run_id"].tolist()
    assert recorders[0].list_params()["depth"] == 9
    assert polars.equals(pl.from_arrow(table))


async def test_the_async_face_gives_its_own_recorders(memory_url: str) -> None:
    async with aqrec.ExperimentManager(memory_url, options=QUICK) as manager:
        async with await (await manager.create_exp("alpha")).create_recorder("r"):
            pass
        (found,) = await manager.search_records(output_format="recorders")
        assert type(found) is aqrec.Recorder
        experiment = await manager.get_exp(experiment_name="alpha")
        (again,) = await experiment.search_records(output_format="recorders")
        assert again == found
        page = await manager.search_page(output_format="recorders")
        assert page == aqrec.Page([found], None)


def test_columns_are_those_that_are_asked_for_in_their_order(manager: ExperimentManager) -> None:
    fields = [
        "params.depth",
        "run_name",
        "experiment_name",
        "max(metrics.ic)",
        "count( metrics.ic )",
        "tags.none",
        "duration",
    ]
    frame = manager.search_records(
        fields=fields, order_by=["params.depth"], filter_string="params.depth IN (2, 8)"
    )
    assert frame.columns.tolist() == [*fields[:4], "count(metrics.ic)", *fields[5:]]
    assert frame.iloc[:, :6].to_dict("list") == {
        "params.depth": [2, 8],
        "run_name": ["trial-2", "trial-8"],
        "experiment_name": ["lab0", "lab0"],
        "max(metrics.ic)": [0.5, 0.8],
        "count(metrics.ic)": [2.0, 2.0],
        "tags.none": [None, None],
    }
    assert frame["duration"].between(0, 60).all()
    table = manager.search_records(
        fields=["count(metrics.ic)", "run_id", "created", "user_id"], output_format="arrow"
    )
    assert table.schema.types == [pa.int64(), pa.string(), pa.timestamp("ms", "UTC"), pa.string()]
    groups = manager.search_records(fields=["metrics.*", "run_id", "params.*"])
    assert groups.columns.tolist() == ["metrics.ic", "run_id", "params.depth", "params.mixed", "params.model"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fields": ["metrics.val/loss"]}, r"\n {15}\^"),
        ({"fields": ["colour"]}, "there is no attribute 'colour'"),
        ({"fields": ["run_id", "attributes.run_id"]}, "run_id is there twice"),
        ({"fields": []}, "fields is empty"),
        ({"fields": "run_id"}, r"give a list: fields=\['run_id'\]"),
        ({"fields": [1]}, "expected text, got int"),
        ({"fields": ["datasets.name"]}, "can be in filters only"),
        ({"fields": ["run_id DESC"]}, "expected one key"),
        ({"output_format": "csv"}, "choose one of pandas, arrow, polars, recorders"),
        ({"view": "old"}, "choose one of active, deleted, all"),
        ({"page_token": "xyz"}, "is no token"),
        ({"max_results": None}, "a page has a size"),
        ({"max_results": 0}, "whole number from 1 on"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(
    arguments: dict[str, object], message: str, memory_url: str
) -> None:
    manager = ExperimentManager(memory_url, options=QUICK)
    with pytest.raises(InvalidInputError, match=message):
        manager.search_page(**arguments)
    manager.close()


def test_a_form_without_its_library_says_what_to_install(
    manager: ExperimentManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.setattr(
        "aqrec.recording._searching.find_spec", lambda name: None if name == "polars" else name
    )
    with pytest.raises(InvalidInputError, match="pip install polars"):
        manager.search_records(output_format="polars")


def all_pages(manager: ExperimentManager, size: int, **query: object) -> list[list[int]]:
    """Depths page by page; before each further page a run is recorded, one deleted, and the catalog folded."""
    found = []
    token = None
    while True:
        page = manager.search_page(max_results=size, page_token=token, **query)
        found.append(page.records["params.depth"].tolist())
        token = page.token
        if token is None:
            return found
        record(manager, 100 + len(found))
        manager.delete_recorder(recorder_id=page.records["run_id"].iloc[0])
        manager.compact(grace=0)


@pytest.mark.parametrize("order", [None, ["params.depth"], ["metrics.ic DESC"]])
def test_pages_show_the_catalog_as_it_was_at_the_first(
    manager: ExperimentManager, order: list[str] | None
) -> None:
    whole = manager.search_records(order_by=order)["params.depth"].tolist()
    pages = all_pages(manager, 3, order_by=order)
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert [depth for page in pages for depth in page] == whole


def test_another_process_goes_on_behind_the_last_run(manager: ExperimentManager) -> None:
    whole = manager.search_records()["run_id"].tolist()
    first = manager.search_page(max_results=4)
    record(manager, 50)
    with ExperimentManager(manager.uri, options=QUICK) as other:
        second = other.search_page(max_results=4, page_token=first.token)
        assert second.records["run_id"].tolist() == whole[4:8]
        other.delete_recorder(recorder_id=whole[7])
        with ExperimentManager(manager.uri, options=QUICK) as third:
            # The run that came last is gone by now: its place counts.
            last = third.search_page(max_results=4, page_token=second.token)
    assert last.records["run_id"].tolist() == whole[9:]
    assert last.token is None


def test_a_token_belongs_to_its_search(manager: ExperimentManager) -> None:
    token = manager.search_page(max_results=4).token
    assert token is not None
    with pytest.raises(InvalidInputError, match="belongs to another search"):
        manager.search_page(max_results=4, page_token=token, filter_string="params.depth > 1")
    told = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    forged = base64.urlsafe_b64encode(json.dumps({**told, "offset": 0}).encode()).decode()
    with pytest.raises(InvalidInputError, match="belongs to another search"):
        manager.search_page(max_results=4, page_token=forged)
    assert len(manager.search_page(max_results=6, page_token=token, fields=["run_id"]).records) == 6


def test_pages_that_fit_exactly_have_no_empty_one_behind(manager: ExperimentManager) -> None:
    assert manager.search_page(max_results=10).token is None
    assert manager.search_page(filter_string="params.depth > 99").records.empty


def test_views_and_experiments(manager: ExperimentManager) -> None:
    experiment = manager.get_exp(experiment_name="lab1")
    assert isinstance(experiment, Experiment)
    manager.delete_recorder(recorder_id=manager.search_records(filter_string="params.depth = 3")["run_id"][0])
    for view, depths in (("active", [1, 5, 7, 9]), ("deleted", [3]), ("all", [1, 3, 5, 7, 9])):
        found = experiment.search_records(view=view, order_by=["params.depth"], output_format="arrow")
        assert found["params.depth"].to_pylist() == depths
    assert len(manager.search_records(experiment_names=["lab0", "lab1"], view="all")) == 10


def test_a_table_of_the_columns_needs_no_pandas(local_url: str) -> None:
    with ExperimentManager(local_url, options=QUICK) as manager:
        record(manager, 3)
        manager.compact(grace=0)
    run_script(
        f"""
        import sys
        from aqrec.sync import ExperimentManager
        with ExperimentManager({local_url!r}) as manager:
            table = manager.search_records(filter_string="params.depth = 3 AND metrics.ic > 0", output_format="arrow")
        assert table["params.model"].to_pylist() == ["tree"]
        assert "pandas" not in sys.modules
        """
    ).check()
