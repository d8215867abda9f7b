"""Images and their labels: sources, splits, selection, decoding, and the embedded benchmark."""
