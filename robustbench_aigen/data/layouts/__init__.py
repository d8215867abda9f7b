"""How images lie on disk: one module for each family of layouts."""
