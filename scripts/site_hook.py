"""What MkDocs calls while it builds the site: see `hooks` in mkdocs.yml."""

from site_pages.links import within_the_site


def on_page_markdown(markdown, page, config, files):
    """Turn links to files of the repository into links within the site, or into plain names."""
    return within_the_site(markdown, page.file.src_uri, files)
