"""Fine-tunes detectors adversarially, notices when that fails, and reports what it won and cost."""
