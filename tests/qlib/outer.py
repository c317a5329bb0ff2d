"""A strategy of Qlib's that leaves all decisions to the one inside."""

from qlib.backtest.decision import TradeDecisionWO
from qlib.strategy.base import BaseStrategy

__all__ = ["Outer"]


class Outer(BaseStrategy):
    """Decides nothing."""

    def generate_trade_decision(self, execute_result: object = None) -> TradeDecisionWO:
        """Return no orders."""
        return TradeDecisionWO([], self)
