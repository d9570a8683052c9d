"""Recorded experiments: measure one with several seeds, and repeat it."""
