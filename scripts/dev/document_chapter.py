"""Runs the chapter's notebook and makes docs/chapter.md of it, with its pictures in img/; takes two minutes."""

import base64
import io
import sys
from pathlib import Path

from gluon_nst.lab.notebooks import notebook

import nbclient
import nbformat
from PIL import Image

ROOT = Path(__file__).parents[2]
NOTE = (
    "<!-- Made by scripts/dev/document_chapter.py from scripts/notebook_chapter.py:"
    " change that, and run this again. -->\n"
)


def text_of(cell):
    """A cell as it stands on the page, without what came out of it."""
    return cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```"


def page(made, name="chapter"):
    """The text of the page, and {path: PIL image} of its pictures, of a notebook that has been run."""
    parts, pictures, heading = [], {}, ""
    for cell in made.cells:
        parts.append(text_of(cell))
        if cell.cell_type == "markdown":
            heading = next(
                (line.lstrip("# ") for line in cell.source.splitlines()[::-1] if line.startswith("#")), heading
            )
            continue
        for output in cell.outputs:
            data = output.get("data", {})
            if output.output_type == "stream":
                parts.append(f"```text\n{output.text.rstrip()}\n```")
            elif "image/png" in data:
                path = f"img/{name}-{len(pictures) + 1:02d}.jpg"
                pictures[path] = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
                parts.append(f"![{heading}: what this cell shows](../{path})")
            elif "text/plain" in data:
                parts.append(f"```text\n{data['text/plain']}\n```")
    return NOTE + "\n\n".join(parts) + "\n", pictures


def main():
    made = nbformat.reads(notebook("chapter"), as_version=4)
    nbclient.NotebookClient(made, timeout=600).execute()
    text, pictures = page(made)
    for old in (ROOT / "img").glob("chapter-*.jpg"):
        old.unlink()
    for path, picture in pictures.items():
        picture.convert("RGB").save(ROOT / path, quality=80, optimize=True)
    (ROOT / "docs" / "chapter.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
