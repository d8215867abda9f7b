"""Numerical basis of attacks and perturbations: random streams, the 8-bit grid, precision."""
