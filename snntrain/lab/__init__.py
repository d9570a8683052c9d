"""Many runs: sweeps, searches, recorded experiments, and the tables and pages that show runs side by side.

The top floor: it may import everything below it, and nothing below imports it; train.py hands its command line over.
"""
