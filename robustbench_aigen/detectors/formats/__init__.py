"""Loaders of detectors, one module for each kind of file."""
