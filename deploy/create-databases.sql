CREATE DATABASE mlflow OWNER tenfold;
