"""The built-in formats of detectors."""
