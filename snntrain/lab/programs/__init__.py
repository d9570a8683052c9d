"""The programs: each module has main(arguments), which returns an exit code, see snntrain/__main__.py.

It may import everything.
"""
