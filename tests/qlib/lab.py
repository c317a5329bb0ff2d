"""Qlib initialised on a store, where it is installed."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["MANAGER", "exp_manager", "needs_qlib", "qlib_on"]


def needs_qlib() -> None:
    """Skip the module that calls this where Qlib is not installed; CI runs it in an environment of its own."""
    if importlib.util.find_spec("qlib") is None:
        pytest.skip("Qlib is not installed here: nox -s qlib", allow_module_level=True)


MANAGER = {"class": "AqrecExpManager", "module_path": "aqrec.integrations.qlib"}


def exp_manager(uri: str | Path, **kwargs: Any) -> dict[str, Any]:
    """Return what ``qlib.init`` takes for a store."""
    return {**MANAGER, "kwargs": {"uri": str(uri), "default_exp_name": "Experiment", **kwargs}}


@contextmanager
def qlib_on(uri: str | Path, *, provider: str | Path = ".", kernels: int = 1, **kwargs: Any) -> Iterator[Any]:
    """Initialise Qlib with an `AqrecExpManager`; yields its ``R``, and closes the store at the end."""
    import qlib
    from qlib.workflow import R

    manager = exp_manager(uri, **kwargs)
    qlib.init(provider_uri=str(provider), region="us", kernels=kernels, exp_manager=manager, logging_level=30)
    try:
        yield R
    finally:
        R.exp_manager.close()
