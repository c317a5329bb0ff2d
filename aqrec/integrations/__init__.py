"""Other people's programs on aqrec's stores: `aqrec.integrations.qlib`."""

__all__: list[str] = []
