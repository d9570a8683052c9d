"""One run, from its checked config to its report.

It may import everything but lab.
"""
