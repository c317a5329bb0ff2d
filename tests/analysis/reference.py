"""The definitions of the analysis functions, a day and a row at a time: slow, plain, written on their own.

Only the join of the two Series is pandas' own; everything else is counted out here.
"""

import math

import numpy as np
import pandas as pd


def joined(pred: pd.Series, label: pd.Series, date_col: str, *, dropna: bool = False) -> dict:
    """Rows of each day as pairs (pred, label), in the order of the joined frame."""
    frame = pd.DataFrame({"pred": pred, "label": label})
    days: dict = {}
    for date, p, y in zip(frame.index.get_level_values(date_col), frame["pred"], frame["label"], strict=True):
        if not pd.isna(date) and not (dropna and (math.isnan(p) or math.isnan(y))):
            days.setdefault(date, []).append((float(p), float(y)))
    return dict(sorted(days.items()))


def correlation(x: list[float], y: list[float]) -> float:
    if len(x) < 2 or min(x) == max(x) or min(y) == max(y) or not np.isfinite([*x, *y]).all():
        return math.nan
    mx, my = math.fsum(x) / len(x), math.fsum(y) / len(y)
    dx, dy = [v - mx for v in x], [v - my for v in y]
    product = math.fsum(a * b for a, b in zip(dx, dy, strict=True))
    return product / math.sqrt(math.fsum(a * a for a in dx)) / math.sqrt(math.fsum(b * b for b in dy))


def ranks(x: list[float]) -> list[float]:
    return [sum(w < v for w in x) + (sum(w == v for w in x) + 1) / 2 for v in x]


def ic(pred: pd.Series, label: pd.Series, date_col: str) -> tuple[pd.Series, pd.Series]:
    plain, ranked = {}, {}
    for date, rows in joined(pred, label, date_col).items():
        pairs = [(p, y) for p, y in rows if not (math.isnan(p) or math.isnan(y))]
        x, y = [p for p, _ in pairs], [y for _, y in pairs]
        plain[date] = correlation(x, y)
        ranked[date] = correlation(ranks(x), ranks(y))
    return _series(plain), _series(ranked)


def extremes(rows: list[tuple[float, float]], quantile: float) -> tuple[list[float], list[float]]:
    """Labels of the best and of the worst: sorted() is stable, so ties keep their order."""
    n = int(len(rows) * quantile)
    best = sorted(rows, key=lambda row: (math.isnan(row[0]), 0 if math.isnan(row[0]) else -row[0]))
    worst = sorted(rows, key=lambda row: (math.isnan(row[0]), 0 if math.isnan(row[0]) else row[0]))
    return [y for _, y in best[:n]], [y for _, y in worst[:n]]


def series_mean(values: list[float], dtype: np.dtype) -> float | None:
    """The mean of a Series: numpy's sum in the Series' own precision, over the count of what is not NaN."""
    present = sum(not math.isnan(v) for v in values)
    if not present:
        return None
    with np.errstate(invalid="ignore"):
        total = np.array([0.0 if math.isnan(v) else v for v in values], dtype).sum()
        return float(total / dtype.type(present))


def grouped_mean(values: list[float], dtype: np.dtype) -> float:
    """The mean of a group: Kahan's sum in the column's own precision, over the count of what is not NaN."""
    total = excess = dtype.type(0)
    present = 0
    with np.errstate(all="ignore"):
        for value in values:
            if math.isnan(value):
                continue
            present += 1
            step = dtype.type(value) - excess
            grown = total + step
            excess = (grown - total) - step
            if np.isnan(excess):
                excess = dtype.type(0)
            total = grown
        return float(total / dtype.type(present)) if present else math.nan


def long_short_return(
    pred: pd.Series, label: pd.Series, date_col: str, quantile: float, *, dropna: bool
) -> tuple[pd.Series, pd.Series]:
    dtype = _float_type(label)
    sides: list[dict] = [{}, {}]
    average = {}
    for date, rows in joined(pred, label, date_col, dropna=dropna).items():
        for side, labels in zip(sides, extremes(rows, quantile), strict=True):
            side[date] = series_mean(labels, dtype)
        average[date] = grouped_mean([y for _, y in rows], dtype)
    wide = [any(v is None for v in side.values()) for side in sides]
    long, short = (
        _series({k: math.nan if v is None else v for k, v in side.items()}).astype(
            np.float64 if gaps else dtype
        )
        for side, gaps in zip(sides, wide, strict=True)
    )
    return (long - short) / 2, _series(average).astype(dtype)


def precision(
    pred: pd.Series, label: pd.Series, date_col: str, quantile: float, *, dropna: bool, is_alpha: bool
) -> tuple[pd.Series, pd.Series]:
    if is_alpha:
        dtype = _float_type(label)
        label = label.astype(dtype)
        dates = label.index.get_level_values(date_col)
        means = {date: grouped_mean(label[dates == date].tolist(), dtype) for date in dates.dropna().unique()}
        shift = np.array([means.get(date, math.nan) for date in dates], dtype)
        with np.errstate(invalid="ignore"):
            label = pd.Series(label.to_numpy() - shift, label.index)
    shares: list[dict] = [{}, {}]
    for date, rows in joined(pred, label, date_col, dropna=dropna).items():
        if int(len(rows) * quantile):
            best, worst = extremes(rows, quantile)
            for share, labels, sign in ((shares[0], best, 1), (shares[1], worst, -1)):
                known = [y * sign > 0 for y in labels if not math.isnan(y)]
                share[date] = sum(known) / len(known) if known else math.nan
    return _series(shares[0]), _series(shares[1])


def autocorr(pred: pd.Series, lag: int, inst_col: str, date_col: str) -> pd.Series:
    days: dict = {}
    names = pred.index.get_level_values(inst_col)
    for date, name, p in zip(pred.index.get_level_values(date_col), names, pred, strict=True):
        days.setdefault(date, {})[name] = float(p)
    dates = sorted(days)
    result = {}
    for i, date in enumerate(dates):
        before = days[dates[i - lag]] if 0 <= i - lag < len(dates) else {}
        common = [k for k, v in days[date].items() if not math.isnan(v + before.get(k, math.nan))]
        result[date] = correlation([days[date][k] for k in common], [before[k] for k in common])
    return _series(result)


def _float_type(values: pd.Series) -> np.dtype:
    return np.dtype(np.float32 if values.dtype == np.float32 else np.float64)


def _series(values: dict) -> pd.Series:
    return pd.Series(list(values.values()), list(values), dtype=np.float64)
