"""A run from command line to report."""
