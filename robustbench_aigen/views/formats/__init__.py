"""Forms of a report: Markdown, LaTeX, HTML."""
