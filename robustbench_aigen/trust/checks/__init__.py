"""The built-in trust checks, one family per file."""
