"""What is wrong with a template of one's own is told when it is defined, or before it saves anything."""

from typing import Any

import pytest

import aqrec.sync.templates as blocking
from aqrec.errors import InvalidInputError, InvalidValueError
from aqrec.templates import ACRecordTemp, RecordTemp, SignalRecord, generate_all
from tests.templates.cases import artifacts, run, run_blocking


def plain(self: Any) -> Any:
    return None


async def coroutine(self: Any) -> Any:
    return None


@pytest.mark.parametrize(
    ("base", "body", "text"),
    [
        (ACRecordTemp, {"depend_cls": "SignalRecord"}, r"Mine\.depend_cls is 'SignalRecord'; give the class"),
        (ACRecordTemp, {"depend_cls": dict}, r"Mine\.depend_cls is <class 'dict'>; give the class"),
        (
            ACRecordTemp,
            {"requires": SignalRecord},
            r"requires is SignalRecord; give a tuple .*: \(SignalRecord,\)",
        ),
        (ACRecordTemp, {"requires": (SignalRecord, 3)}, r"Mine\.requires\[1\] is 3; give the class"),
        (ACRecordTemp, {"artifact_path": 3}, r"Mine\.artifact_path is 3; give the name of a folder"),
        (
            RecordTemp,
            {"generate": plain},
            r"Mine\.generate is a plain function.*write async def generate, or define _ge",
        ),
        (ACRecordTemp, {"generate": plain}, "Mine.generate is a plain function"),
        (
            blocking.ACRecordTemp,
            {"generate": coroutine},
            r"Mine\.generate is a coroutine function.*write def generate",
        ),
        (blocking.ACRecordTemp, {"requires": "SignalRecord"}, "requires is 'SignalRecord'; give a tuple"),
    ],
)
def test_a_class_that_could_not_work_is_refused_where_it_is_defined(
    base: Any, body: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidInputError, match=text):
        type("Mine", (base,), body)


def test_a_decorated_coroutine_function_is_one() -> None:
    import functools

    @functools.wraps(coroutine)
    def decorated(self: Any) -> Any:
        return coroutine(self)

    type("Mine", (ACRecordTemp,), {"generate": decorated, "requires": [SignalRecord]})


def template(base: Any, names: Any, made: Any) -> Any:
    """Return a class whose list and _generate are these."""
    return type(
        "Mine",
        (base,),
        {"artifact_path": "mine", "list": lambda self: names, "_generate": lambda self: made},
    )


WRONG = [
    ("a.pkl", {"a.pkl": 1}, r"Mine\.list\(\) returned 'a\.pkl'; return a list of file names"),
    (None, {"a.pkl": 1}, r"Mine\.list\(\) returned None; return a list"),
    (["a.pkl", 3], {"a.pkl": 1}, r"in which 3 is no file name"),
    (["a.pkl"], {"b.pkl": 1}, r"returned 'b\.pkl', which Mine\.list\(\) does not name: it promises 'a\.pkl'"),
    (["a.pkl", "b.pkl"], {"a.pkl": 1}, r"promises 'mine/b\.pkl', which Mine\._generate\(\) did not return"),
    (["a.pkl"], {}, r"promises 'mine/a\.pkl'"),
]


@pytest.mark.parametrize(("names", "made", "text"), WRONG)
async def test_a_list_that_names_other_files_than_are_made_is_an_error(
    memory_url: str, names: Any, made: Any, text: str
) -> None:
    async with run(memory_url) as recorder:
        with pytest.raises(InvalidInputError, match=text):
            await template(ACRecordTemp, names, made)(recorder).generate()
        assert await artifacts(recorder) == []


@pytest.mark.parametrize(("names", "made", "text"), WRONG)
def test_the_blocking_face_finds_the_same(memory_url: str, names: Any, made: Any, text: str) -> None:
    with run_blocking(memory_url) as blocked:
        with pytest.raises(InvalidInputError, match=text):
            template(blocking.ACRecordTemp, names, made)(blocked).generate()
        assert blocked.list_artifacts() == []


async def test_what_a_template_saves_itself_keeps_its_promise(memory_url: str) -> None:
    class Early(ACRecordTemp):
        def list(self) -> Any:
            return ["a.pkl", "b.pkl"]

        async def _generate(self) -> Any:
            await self.save(**{"a.pkl": 1})
            return {"b.pkl": 2}

    async with run(memory_url) as recorder:
        assert await Early(recorder).generate() == {"b.pkl": 2}
        await Early(recorder).check(include_self=True)


async def test_wrong_names_are_told_before_anything_of_a_schedule_is_made(memory_url: str) -> None:
    log: list[str] = []

    class Good(ACRecordTemp):
        async def _generate(self) -> Any:
            log.append("made")

    class Async(ACRecordTemp):
        async def list(self) -> Any:  # type: ignore[override]
            return ["a.pkl"]

    class Depends(ACRecordTemp):
        depend_cls = template(ACRecordTemp, "a.pkl", None)

    async with run(memory_url) as recorder:
        with pytest.raises(InvalidInputError, match=r"Async\.list\(\) is a coroutine function; write def"):
            await generate_all([Good(recorder), Async(recorder)])
        with pytest.raises(InvalidValueError, match=r"Mine\.list\(\) returned 'a\.pkl'"):
            await generate_all([Good(recorder), Depends(recorder)])
    assert log == []
