"""Two runs held against each other: what changed, and whether a detector got less robust."""
