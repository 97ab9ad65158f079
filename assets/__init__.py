"""Dagster assets, one module a paper: thin shells that read like the paper's method section."""
