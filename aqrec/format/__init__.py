"""What is stored, as bytes: pure functions without I/O. `docs/format.md` describes it for other readers."""

__all__: list[str] = []
