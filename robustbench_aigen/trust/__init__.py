"""Evidence against a number, printed beside it."""
