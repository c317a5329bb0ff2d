"""Real prices and a small model: something honest to record, for the demo command and for examples.

Importing this package loads pandas; ``import aqrec`` does not reach it.
"""

from aqrec.demo._data import load_index, load_prices
from aqrec.demo._dataset import DemoDataset
from aqrec.demo._features import FEATURES, LABEL, LABEL_HORIZON, features_and_labels
from aqrec.demo._model import FoldInfo, RidgeModel

__all__ = [
    "FEATURES",
    "LABEL",
    "LABEL_HORIZON",
    "DemoDataset",
    "FoldInfo",
    "RidgeModel",
    "features_and_labels",
    "load_index",
    "load_prices",
]
