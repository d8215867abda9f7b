"""Stages of a pipeline: recipes, their parameters, and how they are read. Neither torch nor pandas."""
