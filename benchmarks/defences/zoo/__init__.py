"""Defences that are known to be broken, one a module, each with its reference attack."""
