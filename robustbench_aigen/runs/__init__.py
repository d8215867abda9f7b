"""Finished runs: their records, their folder, baselines."""
