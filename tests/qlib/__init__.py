"""Tests with real Qlib: ``nox -s qlib``."""
