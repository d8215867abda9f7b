"""What is made of runs: reports, gates, comparisons."""
