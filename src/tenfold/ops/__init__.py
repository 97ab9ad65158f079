"""Bridges to the tools of the trade: DVC, MLflow, Great Expectations, the registry."""
