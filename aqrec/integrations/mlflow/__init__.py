"""MLflow's stores of runs, into an aqrec store and out of it; MLflow itself is not needed.

``import_mlruns("mlruns", "s3://bucket/lab")`` takes over what is in a folder or an SQLite file of MLflow, and so of Qlib on MLflow;
``export_mlruns`` writes a store as a folder that MLflow reads. The commands are ``aqrec import mlruns`` and ``aqrec export mlruns``.
"""

from aqrec.integrations.mlflow._exporting import Exported, export_mlruns
from aqrec.integrations.mlflow._importing import Imported, import_mlruns

__all__ = ["Exported", "Imported", "export_mlruns", "import_mlruns"]
