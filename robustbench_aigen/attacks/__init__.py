"""Attacks: the threat model, the native engine, the library adapters, and the verifier they all pass through."""
