"""What aqrec does not have, run by Qlib itself."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping
from typing import Any

from aqrec.errors import InvalidInputError

__all__ = ["run_on_qlib"]

_EXECUTOR = {
    "class": "SimulatorExecutor",
    "module_path": "qlib.backtest.executor",
    "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True},
}


def run_on_qlib(wanted: str, quotes: Any, executor: Any, account: Any, **arguments: Any) -> Any:
    """Run Qlib's own backtest on the prices that it was initialised with, and return what it returns."""
    try:
        config = importlib.import_module("qlib.config")
        engine = importlib.import_module("qlib.backtest")
    except ImportError as error:
        raise InvalidInputError(
            f"{wanted} is not among what aqrec has, and Qlib, which would run it, cannot be imported ({error}); install "
            "pyqlib, or choose TopkDropoutStrategy and SimulatorExecutor"
        ) from error
    if not config.C.registered:
        raise InvalidInputError(f"{wanted} runs on Qlib: call qlib.init(provider_uri=…) first")
    if quotes is not None:
        raise InvalidInputError(
            f"{wanted} runs on Qlib, which reads the prices that qlib.init named; leave quotes out"
        )
    return engine.backtest(
        executor=_EXECUTOR if executor is None else executor,
        # Qlib takes the cash out of a dict that it is given.
        account=copy.deepcopy(dict(account)) if isinstance(account, Mapping) else account,
        **arguments,
    )
