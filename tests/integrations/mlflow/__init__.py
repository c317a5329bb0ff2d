"""MLflow's stores, in and out, without MLflow."""
