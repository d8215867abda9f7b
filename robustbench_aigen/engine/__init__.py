"""Runs scenarios: cells, shards, the cache of finished shards, and the run folder."""
