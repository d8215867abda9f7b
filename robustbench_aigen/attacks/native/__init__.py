"""The native engine for gradient attacks."""
