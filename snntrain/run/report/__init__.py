"""The report of one run, and the frame of every page that snntrain writes.

It may import what run may, and reads nothing but the files of a run folder.
"""
