"""Trading a signal over past prices, day by day, with the rules of a stock exchange.

Arguments, results and numbers are those of Qlib's functions of the same names; no Qlib is needed.
"""

from ._exchange import Exchange
from ._executor import SimulatorExecutor
from ._orders import Fill, Order
from ._results import Indicator, Position, positions_frame
from ._run import backtest
from ._step import Step, Strategy
from ._topk import TopkDropoutStrategy

__all__ = [
    "Exchange",
    "Fill",
    "Indicator",
    "Order",
    "Position",
    "SimulatorExecutor",
    "Step",
    "Strategy",
    "TopkDropoutStrategy",
    "backtest",
    "positions_frame",
]
