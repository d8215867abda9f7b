"""Loaders of detectors, one module for each format."""
