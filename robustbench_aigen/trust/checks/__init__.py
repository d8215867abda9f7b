"""The built-in trust checks, one family a file."""
