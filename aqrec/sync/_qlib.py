"""Qlib beside aqrec: what its models and records log goes into the run that aqrec records."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Mapping
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from aqrec.sync._global import R
from aqrec.sync._recorder import Recorder

__all__ = ["qlib_logs_into", "start_qlib"]

_recorder: ContextVar[Recorder | None] = ContextVar("aqrec_qlib_recorder", default=None)


def start_qlib(settings: Mapping[str, Any] | None) -> None:
    """Call ``qlib.init`` with the section ``qlib_init`` of a workflow; None: not at all."""
    if settings is not None:
        import_module("qlib").init(**settings)


@contextlib.contextmanager
def qlib_logs_into(recorder: Recorder) -> Generator[None]:
    """Make Qlib's global ``R`` mean a recorder, for this task and the threads that inherit its context.

    Elsewhere ``R`` stays what it was. Nothing happens unless Qlib's workflow package is loaded.
    """
    module = sys.modules.get("qlib.workflow")
    if module is not None:
        wrapper: Any = module.R
        provider = vars(wrapper).get("_provider")
        if not isinstance(provider, _Provider):
            # Not by register(): that refuses to replace a provider that is recording.
            wrapper._provider = _Provider(provider)
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


class _Provider:
    """Stands behind Qlib's ``R``, and sends each call where it belongs by the context it comes from."""

    def __init__(self, other: Any) -> None:
        self._other = other

    def __getattr__(self, name: str) -> Any:
        recorder = _recorder.get()
        if recorder is None:
            if self._other is None:
                raise AttributeError("Please run qlib.init() first using qlib")
            return getattr(self._other, name)
        # The recorder itself, not the active one: a model in a thread that nobody waits for any more still means this run.
        return getattr(recorder, name) if name in _OF_RECORDER else getattr(R, name)


_OF_RECORDER = frozenset(
    {
        "delete_tags",
        "download_artifact",
        "list_artifacts",
        "load_object",
        "log_artifact",
        "log_metrics",
        "log_params",
        "save_objects",
        "set_tags",
    }
)
