"""The scripts that build minigen, the benchmark inside the package."""
