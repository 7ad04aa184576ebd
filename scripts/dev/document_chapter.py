"""Run the chapter's notebook and write docs/chapter.md, with its pictures in img/; takes two minutes."""

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
    """Return the source of a cell as Markdown, without its outputs."""
    return cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```"


def page(executed, name="chapter"):
    """Return the text of the page of an executed notebook, and its pictures, {path: PIL image}."""
    parts, pictures, heading = [], {}, ""
    for cell in executed.cells:
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
    executed = nbformat.reads(notebook("chapter"), as_version=4)
    nbclient.NotebookClient(executed, timeout=600).execute()
    text, pictures = page(executed)
    for old in (ROOT / "img").glob("chapter-*.jpg"):
        old.unlink()
    for path, picture in pictures.items():
        picture.convert("RGB").save(ROOT / path, quality=80, optimize=True)
    (ROOT / "docs" / "chapter.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
