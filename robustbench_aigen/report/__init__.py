"""Tables and figures from a run's summary and records."""
