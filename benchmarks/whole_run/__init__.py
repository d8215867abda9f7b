"""A whole run, from the command to the report, beside the script that a user would write."""
