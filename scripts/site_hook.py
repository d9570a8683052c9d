"""What MkDocs calls while it builds the site: see `hooks` in mkdocs.yml."""

from mkdocs.structure.files import File
from site_pages import api_pages, config_pages
from site_pages.links import within_the_site

_made: dict[str, str] = {}


def on_config(config):
    """Make the generated pages, and put them into the menu."""
    _made.clear()
    library, keys = api_pages.pages(), config_pages.pages()
    _made.update(library | keys)
    _fill(config.nav, {"Config": list(keys), "Library": list(library)})
    return config


def on_files(files, config):
    """Add the generated pages to those of docs/."""
    for path, text in _made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links to files of the repository into links within the site, or into plain names."""
    return markdown if page.file.src_uri in _made else within_the_site(markdown, page.file.src_uri, files)


def _fill(menu: list, made: dict[str, list[str]]) -> None:
    """Put pages where the menu has a section of their name without entries."""
    for entry in menu:
        if isinstance(entry, dict):
            for title, inside in entry.items():
                if isinstance(inside, list) and not inside:
                    inside.extend(made[title])
                elif isinstance(inside, list):
                    _fill(inside, made)
