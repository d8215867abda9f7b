"""Runs that are imported from a table of scores."""
