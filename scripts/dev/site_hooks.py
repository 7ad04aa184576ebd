"""Hooks of mkdocs: the pages of docs/ are written to be read in the repository too, where pictures lie in ../img."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]


def on_files(files, config):
    """Add the pictures in img/."""
    for path in sorted((ROOT / "img").iterdir()):
        if path.suffix in (".jpg", ".png", ".webp", ".gif"):
            files.append(File(f"img/{path.name}", str(ROOT), config["site_dir"], use_directory_urls=False))
    return files


def on_page_markdown(markdown, page, config, files):
    """Link to pictures where the site has them; leave the text of links to files that the site does not have."""
    markdown = re.sub(r"\]\(\.\./(img/[^)]*\.(?:jpg|png|webp|gif))\)", r"](\1)", markdown)
    return re.sub(r"(?<!!)\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", markdown)
