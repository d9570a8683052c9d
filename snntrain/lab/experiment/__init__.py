"""Recorded experiments: measure one with several seeds, and repeat it.

It may import everything but the other packages of lab.
"""
