"""Trains the detectors of the zoo from recipes, and compares detectors trained on different generators."""
