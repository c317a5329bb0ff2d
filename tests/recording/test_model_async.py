"""The async face driven at random, on asyncio and on trio, against the same model; and what the blocking drive leaves out."""

import asyncio
import inspect
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, cast

import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

import aqrec
from aqrec.sync import ExperimentManager
from tests.recording.test_model import RecorderMachine, same


class Blocking:
    """Calls an async object's methods as if they were blocking: awaits what they return."""

    def __init__(self, inner: Any, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._inner = inner
        self._run = run

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, {"close": "aclose"}.get(name, name))
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            async def work() -> Any:
                result = found(*args, **kwargs)
                return await result if inspect.isawaitable(result) else result

            return self._wrapped(self._run(work()))

        return call

    def _wrapped(self, result: Any) -> Any:
        if isinstance(result, aqrec.Recorder | aqrec.Experiment):
            return Blocking(result, self._run)
        if isinstance(result, dict):
            return {key: self._wrapped(value) for key, value in result.items()}
        return result


class AsyncMachine(RecorderMachine):
    """With rules for names, experiments and artifacts' folders on top."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def make_manager(self) -> ExperimentManager:
        manager = aqrec.ExperimentManager(self.make_url(), options=self.options)
        return cast("ExperimentManager", Blocking(manager, self.run))

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.runner.close()

    @rule(run=RecorderMachine.runs)
    def resume(self, run: str) -> None:
        """Start a run that exists, by its id."""
        experiment = self.manager.get_exp(experiment_name="machine")

        def start() -> None:
            assert experiment.start(recorder_id=run, resume=True).id == run

        self._started(run, start)

    @rule(run=RecorderMachine.runs, name=st.sampled_from(["one", "two"]))
    def rename(self, run: str, name: str) -> None:
        self.recorder(run).set_recorder_name(name)
        self.model[run].name = self.model[run].tags["mlflow.runName"] = name

    @rule(run=RecorderMachine.runs)
    def find_by_name(self, run: str) -> None:
        model = self.model[run]
        namesakes = {
            other for other, found in self.model.items() if found.name == model.name and not found.deleted
        }
        if namesakes:
            found = self.manager.get_recorder(recorder_name=model.name, experiment_name="machine")
            assert found.id in namesakes

    @rule(run=RecorderMachine.runs, status=st.sampled_from(["SCHEDULED", "RUNNING", "FINISHED", "FAILED"]))
    def list_by_status(self, run: str, status: Any) -> None:
        self.recorder(run).flush()
        experiment = self.manager.get_exp(experiment_name="machine")
        wanted = {
            other for other, found in self.model.items() if found.status == status and not found.deleted
        }
        assert set(experiment.list_recorders(status=status)) == wanted

    @rule(run=RecorderMachine.runs)
    def list_artifacts(self, run: str) -> None:
        paths = self.model[run].artifacts
        for folder in ("", "folder", "folder/deep", "nowhere"):
            prefix = f"{folder}/" if folder else ""
            children = {
                prefix + path.removeprefix(prefix).split("/")[0] for path in paths if path.startswith(prefix)
            }
            assert self.recorder(run).list_artifacts(folder or None) == sorted(children)

    @rule()
    def hide_and_show_the_experiment(self) -> None:
        if not self.model:
            return
        self.manager.delete_exp(experiment_name="machine")
        assert len(self.manager.search_records()) == 0
        assert "machine" not in self.manager.list_experiments()
        self.manager.restore_exp(experiment_name="machine")

    @rule(
        run=RecorderMachine.runs,
        path=st.sampled_from(["a.json", "b.pkl"]),
        numbers=st.lists(st.integers(), max_size=3),
    )
    def save_and_read_at_once(self, run: str, path: str, numbers: list[int]) -> None:
        recorder, model = self.recorder(run), self.model[run]
        recorder.save_objects(**{path: {"numbers": numbers}})
        model.artifacts[path] = {"numbers": numbers}
        assert same(recorder.load_object(path), model.artifacts[path])


class TrioMachine(AsyncMachine):
    """In memory, each call on a trio loop of its own."""

    count = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.name = f"memory://trio-machine-{next(self.count)}"

    def make_url(self) -> str:
        return self.name

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        async def main() -> Any:
            return await work

        return trio.run(main)


TestAsyncio = AsyncMachine.TestCase
TestTrio = TrioMachine.TestCase
for case in (TestAsyncio, TestTrio):
    case.settings = settings(
        max_examples=max(settings().max_examples // 10, 5),
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
del case
