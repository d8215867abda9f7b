"""The detector contract, the architectures, and loading."""
