"""Many runs of one command line: their records, their folders, and how they are launched.

It may import everything but the other packages of lab.
"""
