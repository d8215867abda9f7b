"""From records to numbers: metrics, intervals, paired tests, the summary table."""
