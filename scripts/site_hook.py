"""What MkDocs calls while it builds the site: see `hooks` in mkdocs.yml."""

import posixpath
from pathlib import Path

from mkdocs.structure.files import File
from site_pages import api_pages, config_pages, result_pages
from site_pages.links import PAGES, within_the_site

ROOT = Path(__file__).resolve().parents[1]
_made: dict[str, str] = {}


def on_config(config):
    """Make the generated pages, and put them into the menu."""
    sections = {"Config": config_pages.pages(), "Library": api_pages.pages(), "Results": result_pages.pages()}
    _made.clear()
    _made.update({path: text for pages in sections.values() for path, text in pages.items()})
    _made.update({page: (ROOT / file).read_text(encoding="utf-8") for file, page in PAGES.items()})
    menus = {title: list(pages) for title, pages in sections.items()}
    _fill(config.nav, menus | {"Results": ["results.md", "benchmarks.md", *_with_records_below(menus["Results"])]})
    return config


def on_files(files, config):
    """Add the generated pages, and the figures of records, to those of docs/."""
    for path, text in _made.items():
        files.append(File.generated(config, path, content=text))
    for path, figure in result_pages.pictures().items():
        files.append(File.generated(config, path, abs_src_path=str(figure)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links to files of the repository into links within the site, or into plain names."""
    path = page.file.src_uri
    copied = {page: file for file, page in PAGES.items()}
    if path in _made and path not in copied:
        return markdown
    folder = posixpath.dirname(copied.get(path, f"docs/{path}"))
    return within_the_site(markdown, path, folder, [file.src_uri for file in files.documentation_pages()])


def _with_records_below(pages: list[str]) -> list:
    """The menu of results, in which the records stand below the table of experiments, under their names."""
    of_records = [page for page in pages if page.startswith(f"{result_pages.FOLDER}/experiments/")]
    records = [{Path(page).stem: page} for page in of_records]
    return [
        {"Experiments": [page, *records]} if page == f"{result_pages.FOLDER}/experiments.md" else page
        for page in pages
        if page not in of_records
    ]


def _fill(menu: list, made: dict[str, list[str]]) -> None:
    """Put pages where the menu has a section of their name without entries."""
    for entry in menu:
        if isinstance(entry, dict):
            for title, inside in entry.items():
                if isinstance(inside, list) and not inside:
                    inside.extend(made[title])
                elif isinstance(inside, list):
                    _fill(inside, made)
