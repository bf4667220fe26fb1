"""MLflow's pyfunc models, each in the environment that its version locked."""
