"""What all papers share. Knows no paper, no Dagster and no MLflow."""
