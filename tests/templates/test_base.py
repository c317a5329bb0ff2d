"""Names, lookups and checks of `RecordTemp` and `ACRecordTemp`."""

import asyncio
import doctest
import logging
import uuid
from types import SimpleNamespace
from typing import Any

import anyio.from_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.errors import InvalidInputError, InvalidValueError, LoadObjectError, MissingInputError
from aqrec.templates import ACRecordTemp, RecordTemp, SigAnaRecord, SignalRecord, _base
from tests.templates.cases import Model, artifacts, panel, run


class First(ACRecordTemp):
    """Makes two files in a folder."""

    artifact_path = "first"

    def list(self) -> Any:
        return ["a.pkl", "b.pkl"]

    async def _generate(self, factor: int = 1) -> Any:
        return {"a.pkl": 1 * factor, "b.pkl": 2 * factor}


class Second(ACRecordTemp):
    """Makes one file in the root out of those."""

    depend_cls = First

    def list(self) -> Any:
        return ["sum.pkl"]

    async def _generate(self) -> Any:
        return {"sum.pkl": await self.load("a.pkl") + await self.load("b.pkl")}


class Third(ACRecordTemp):
    """Makes a file of a name that its grandparent uses, too."""

    artifact_path = "third"
    depend_cls = Second

    def list(self) -> Any:
        return ["a.pkl"]

    async def _generate(self) -> Any:
        return {"a.pkl": await self.load("sum.pkl") * 10}


def test_the_example_of_the_docstring_runs() -> None:
    result = doctest.testmod(_base)
    assert (result.failed, result.attempted) == (0, 7)


@pytest.mark.parametrize("template", [RecordTemp, First, SigAnaRecord])
def test_a_template_without_a_recorder_is_refused(template: Any) -> None:
    with pytest.raises(
        InvalidInputError, match=rf"{template.__name__} has recorder=None; give it the recorder"
    ):
        template(None)


def test_a_recorder_of_the_blocking_face_is_told_where_it_fits() -> None:
    blocking = SimpleNamespace(load_object=lambda name: name)
    with pytest.raises(InvalidInputError, match=r"aqrec\.sync\.templates take an aqrec\.sync\.Recorder"):
        First(blocking)  # type: ignore[arg-type]


async def test_a_path_is_below_the_folder_if_there_is_one(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        assert First(recorder).get_path("a.pkl") == First.get_path("a.pkl") == "first/a.pkl"
        assert Second(recorder).get_path("sum.pkl") == "sum.pkl"
        assert (First(recorder).get_path(), Second(recorder).get_path()) == ("first", "")
        assert list(RecordTemp(recorder).list()) == []


async def test_save_and_load_use_the_folder(store_url: str) -> None:
    async with run(store_url) as recorder:
        await First(recorder).save(**{"a.pkl": {"x": 1}, "deep/c.json": [2]})
        assert await recorder.load_object("first/a.pkl") == {"x": 1}
        assert await First(recorder).load("a.pkl") == {"x": 1}
        assert await First(recorder).load("deep/c.json") == [2]


async def test_load_looks_in_the_own_folder_first_and_then_in_those_of_the_parents(store_url: str) -> None:
    async with run(store_url) as recorder:
        await First(recorder).generate()
        await Second(recorder).generate()
        assert await Third(recorder).load("a.pkl") == 1
        assert await Third(recorder).load("sum.pkl") == 3
        await Third(recorder).generate()
        assert await Third(recorder).load("a.pkl") == 30
        assert await Third(recorder).load("b.pkl") == 2


async def test_load_without_parents_looks_nowhere_else(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await First(recorder).generate()
        with pytest.raises(
            MissingInputError, match=rf"^Third: run {recorder.id} has none of 'third/a\.pkl' \(wo"
        ):
            await Third(recorder).load("a.pkl", parents=False)


async def test_load_names_all_places_where_it_looked(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        with pytest.raises(MissingInputError) as caught:
            await Third(recorder).load("x.pkl")
    for place in (
        "'third/x.pkl' (would be made by Third)",
        "'x.pkl' (would be made by Second)",
        "'first/x.pkl'",
    ):
        assert place in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)


async def test_one_place_is_named_once_after_the_nearest_template(memory_url: str) -> None:
    class Fourth(Second):
        depend_cls = Second

    async with run(memory_url) as recorder:
        with pytest.raises(MissingInputError) as caught:
            await Fourth(recorder).load("x.pkl")
    assert "none of 'x.pkl' (would be made by Fourth), 'first/x.pkl' (would be made by First);" in str(
        caught.value
    )


async def test_a_damaged_file_is_not_passed_over_for_one_of_a_parent(local_url: str) -> None:
    async with run(local_url) as recorder:
        await First(recorder).generate()
        await Second(recorder).generate()
        await Third(recorder).generate()
        folder = anyio.Path(await recorder.get_local_dir())
        await (folder / "third" / "a.pkl").write_bytes(b"something else")
        with pytest.raises(LoadObjectError, match=r"third/a\.pkl"):
            await Third(recorder).load("a.pkl")


async def test_a_failed_check_or_load_leaves_the_template_what_it_was(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        third = Third(recorder)
        for call in (third.check(), third.load("x.pkl"), third.generate()):
            with pytest.raises(MissingInputError):
                await call
        assert type(third) is Third
        assert third.get_path("a.pkl") == "third/a.pkl"


async def test_check_names_each_missing_file_its_run_and_who_makes_it(store_url: str) -> None:
    async with run(store_url) as recorder:
        await recorder.save_objects(artifact_path="first", **{"a.pkl": 1})
        with pytest.raises(MissingInputError) as caught:
            await Third(recorder).check()
        assert str(caught.value) == (
            f"Third: run {recorder.id} lacks 'sum.pkl' (made by Second), 'first/b.pkl' (made by First); "
            "call Second.generate() and First.generate() on it first"
        )


async def test_check_looks_at_own_files_only_when_told_to(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await First(recorder).check()
        with pytest.raises(MissingInputError, match=r"'first/a\.pkl' \(made by First\), 'first/b\.pkl'"):
            await First(recorder).check(include_self=True)
        with pytest.raises(MissingInputError, match=r"'sum\.pkl' \(made by Second\); call"):
            await Second(recorder).check(include_self=True, parents=False)
        await Second(recorder).check(parents=False)


NAMES = st.lists(st.sampled_from(["a.pkl", "b.pkl", "c", "deep/d.pkl", "deep/er/e.pkl"]), unique=True)
FOLDERS = st.sampled_from([None, "one", "one/two"])


@given(
    own=NAMES,
    parents=NAMES,
    there=st.sets(st.integers(0, 9)),
    folder=FOLDERS,
    above=FOLDERS,
    also=st.booleans(),
)
def test_check_finds_exactly_what_is_missing(
    own: list[str], parents: list[str], there: set[int], folder: str | None, above: str | None, also: bool
) -> None:
    class Parent(RecordTemp):
        artifact_path = above

        def list(self) -> Any:
            return parents

    class Child(ACRecordTemp):
        artifact_path = folder
        depend_cls = Parent

        def list(self) -> Any:
            return own

        def _generate(self) -> Any:
            return dict.fromkeys(own, 0)

    needed = [Parent.get_path(name) for name in parents] + [Child.get_path(name) for name in own if also]
    present = {path for number, path in enumerate(needed) if number in there}
    missing = {path for path in needed if path not in present}

    async def main() -> None:
        async with run(f"memory://{uuid.uuid4().hex}") as recorder:
            await recorder.save_objects(**dict.fromkeys(present, 0))
            child = Child(recorder, skip_existing=True)
            if missing:
                with pytest.raises(MissingInputError) as caught:
                    await child.check(include_self=also)
                assert {path for path in needed if f"{path!r} (made by" in str(caught.value)} == missing
            else:
                await child.check(include_self=also)
            await Parent(recorder).save(**dict.fromkeys(parents, 0))
            complete = bool(own) and {Child.get_path(name) for name in own} <= present | {
                Parent.get_path(name) for name in parents
            }
            assert await child.generate() == (None if complete else dict.fromkeys(own, 0))
            await child.check(include_self=True)

    asyncio.run(main())


async def test_generate_passes_its_arguments_saves_and_returns_what_was_made(store_url: str) -> None:
    async with run(store_url) as recorder:
        assert await First(recorder).generate(5) == {"a.pkl": 5, "b.pkl": 10}
        assert await First(recorder).generate(factor=6) == {"a.pkl": 6, "b.pkl": 12}
        assert await artifacts(recorder) == ["first/a.pkl", "first/b.pkl"]
        assert await First(recorder).load("b.pkl") == 12


async def test_generate_without_its_inputs_raises(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        with pytest.raises(MissingInputError, match=r"'first/a\.pkl' \(made by First\)"):
            await Second(recorder).generate()
        assert await artifacts(recorder) == []


async def test_generate_without_its_inputs_warns_if_so_asked(
    memory_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with run(memory_url) as recorder:
        assert await Second(recorder, on_missing="skip").generate() is None
        assert await artifacts(recorder) == []
    assert "nothing is made: Second: run" in caplog.text


def test_another_way_on_missing_is_refused() -> None:
    recorder: Any = SimpleNamespace(load_object=Model(None).predict)
    recorder.load_object = First._generate
    with pytest.raises(InvalidInputError, match="on_missing must be 'raise' or 'skip', not 'ignore'"):
        First(recorder, on_missing="ignore")  # type: ignore[arg-type]


async def test_what_exists_is_left_alone_if_so_asked(
    store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aqrec")
    async with run(store_url) as recorder:
        assert await First(recorder, skip_existing=True).generate(1) == {"a.pkl": 1, "b.pkl": 2}
        assert await First(recorder, skip_existing=True).generate(7) is None
        assert f"run {recorder.id} has all files of First" in caplog.text
        assert await First(recorder).load("a.pkl") == 1
        assert await First(recorder).generate(7) is not None
        assert await First(recorder).load("a.pkl") == 7


async def test_a_part_of_the_files_is_not_enough_to_skip(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await First(recorder).save(**{"a.pkl": 100})
        assert await First(recorder, skip_existing=True).generate() is not None
        assert await First(recorder).load("a.pkl") == 1


async def test_skipping_needs_no_inputs(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await Second(recorder).save(**{"sum.pkl": 9})
        assert await Second(recorder, skip_existing=True).generate() is None


async def test_a_template_that_promises_nothing_is_never_skipped(memory_url: str) -> None:
    class Loose(First):
        def list(self) -> Any:
            return []

    async with run(memory_url) as recorder:
        assert await Loose(recorder, skip_existing=True).generate() is not None
        assert await Loose(recorder, skip_existing=True).generate() is not None


async def test_a_plain_generate_works_and_can_load_from_its_thread(memory_url: str) -> None:
    class Plain(Second):
        def _generate(self) -> Any:
            return {"sum.pkl": anyio.from_thread.run(self.load, "a.pkl") + 40}

    async with run(memory_url) as recorder:
        await First(recorder).generate()
        assert await Plain(recorder).generate() == {"sum.pkl": 41}
        assert await Plain(recorder).load("sum.pkl") == 41


async def test_making_nothing_saves_nothing(memory_url: str) -> None:
    class Nothing(First):
        async def _generate(self) -> Any:
            return None

    async with run(memory_url) as recorder:
        assert await Nothing(recorder).generate() is None
        assert await artifacts(recorder) == []


async def test_making_something_else_than_objects_by_name_is_an_error(memory_url: str) -> None:
    class Wrong(First):
        async def _generate(self) -> Any:
            return [1, 2]

    async with run(memory_url) as recorder:
        with pytest.raises(InvalidValueError, match=r"Wrong\._generate\(\) returned list; return a dict"):
            await Wrong(recorder).generate()


async def test_an_error_of_generate_comes_through_and_nothing_is_saved(memory_url: str) -> None:
    class Failing(First):
        async def _generate(self) -> Any:
            raise ZeroDivisionError("mine")

    async with run(memory_url) as recorder:
        with pytest.raises(ZeroDivisionError, match="mine"):
            await Failing(recorder, on_missing="skip").generate()
        assert await artifacts(recorder) == []


async def test_what_a_subclass_leaves_undefined_says_so(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        with pytest.raises(NotImplementedError, match=r"RecordTemp does not define generate\(\)"):
            await RecordTemp(recorder).generate()
        with pytest.raises(NotImplementedError, match=r"ACRecordTemp does not define _generate\(\)"):
            await ACRecordTemp(recorder).generate()


async def test_a_parent_whose_list_needs_an_instance_is_explained(memory_url: str) -> None:
    class Parent(First):
        def __init__(self, recorder: Any, files: Any) -> None:
            super().__init__(recorder)
            self.files = files

        def list(self) -> Any:
            return self.files

    class Child(Second):
        depend_cls = Parent

    async with run(memory_url) as recorder:
        with pytest.raises(
            InvalidInputError, match=r"Parent\.list\(\) reads 'files'.*give 'files' a default"
        ):
            await Child(recorder).check()


async def test_templates_work_on_a_run_that_has_ended(store_url: str) -> None:
    pred, label = panel()
    async with run(store_url) as recorder:
        await SignalRecord(Model(pred), None, recorder).generate()
        await recorder.end_run()
        await SigAnaRecord(recorder).generate(label=label)
        assert await SigAnaRecord(recorder, skip_existing=True).generate() is None
        assert "IC" in await recorder.list_metrics()
