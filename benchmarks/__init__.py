"""Benchmarks and the scripts that build the embedded one."""
