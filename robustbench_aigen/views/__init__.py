"""Views of finished runs: reports, gates, comparisons."""
