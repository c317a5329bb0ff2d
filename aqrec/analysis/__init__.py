"""Figures about signals, returns and orders: plain functions of pandas objects, without I/O.

Arguments and results are those of Qlib's functions of the same names. The numbers agree with Qlib's to
rounding and do not depend on the version of pandas.

Predictions and labels with equal indexes sorted by day are read in place, in small blocks. Other indexes cost
up to three float64 columns of their length. All of it may run in a thread beside an event loop.
"""

from ._frequency import resample_indicators, resample_report
from ._risk import indicator_analysis, risk_analysis
from ._signal import calc_all_ic, calc_ic, calc_long_short_prec, calc_long_short_return, pred_autocorr

__all__ = [
    "calc_all_ic",
    "calc_ic",
    "calc_long_short_prec",
    "calc_long_short_return",
    "indicator_analysis",
    "pred_autocorr",
    "resample_indicators",
    "resample_report",
    "risk_analysis",
]
