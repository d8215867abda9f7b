"""The formats of detectors that the package loads."""
