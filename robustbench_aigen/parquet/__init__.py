"""The metadata of Parquet files that pyarrow does not tell, or ends the process over."""
