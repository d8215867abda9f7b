"""YAML files with a line for every value, validated into typed objects."""
