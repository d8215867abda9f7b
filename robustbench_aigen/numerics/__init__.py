"""What attacks and perturbations stand on: random streams, the 8-bit grid, precision."""
