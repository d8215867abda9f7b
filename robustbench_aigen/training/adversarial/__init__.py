"""Adversarial fine-tuning of detectors, with a collapse watch and a report of gain and cost."""
