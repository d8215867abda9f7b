"""Scenario files: YAML in, validated scenario and fully bound cells out."""
