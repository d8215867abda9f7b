"""The built-in metrics; their modules register them."""
