"""Pictures of a signal and of a portfolio, with matplotlib (extra ``aqrec[plots]``).

`plot_signal` (`draw_signal`, from daily tables) and `plot_portfolio` return matplotlib figures by name; `png` and `html_page` draw them. No global state of
matplotlib's is used or changed, no window is opened, and all of it may run in threads.
"""

from aqrec.plots._draw import html_page, png, require_matplotlib
from aqrec.plots._portfolio import plot_portfolio
from aqrec.plots._signal import draw_signal, group_returns, plot_signal

__all__ = [
    "draw_signal",
    "group_returns",
    "html_page",
    "plot_portfolio",
    "plot_signal",
    "png",
    "require_matplotlib",
]
