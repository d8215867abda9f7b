"""Suites: fixed images, attacks, budgets and degradations, in versions that never change."""
