"""Other people's programs and stores: `aqrec.integrations.qlib`, `aqrec.integrations.mlflow`."""

__all__: list[str] = []
