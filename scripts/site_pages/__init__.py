"""What the documentation site is made from beside the pages in docs/; scripts/site_hook.py hands it to MkDocs.

It may import all of snntrain.
"""
