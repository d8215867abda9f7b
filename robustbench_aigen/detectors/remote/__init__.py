"""Detectors behind HTTP: requests, stored answers, budget."""
