"""One run on several devices.

It may import what run may: everything but lab.
"""
