"""Layouts of images on disk: one module for each family of layouts."""
