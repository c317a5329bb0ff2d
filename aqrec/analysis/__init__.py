"""Figures about signals, returns and orders: plain functions of pandas objects, without I/O.

Arguments and results are those of Qlib's functions of the same names. The numbers agree with Qlib's to
rounding and do not depend on the version of pandas.
"""

from ._risk import indicator_analysis, risk_analysis
from ._signal import calc_all_ic, calc_ic, calc_long_short_prec, calc_long_short_return, pred_autocorr

__all__ = [
    "calc_all_ic",
    "calc_ic",
    "calc_long_short_prec",
    "calc_long_short_return",
    "indicator_analysis",
    "pred_autocorr",
    "risk_analysis",
]
