"""Draw the packages of gluon_nst and their imports into CONTRIBUTING.md, as a Mermaid diagram.

    python scripts/dev/draw_packages.py

The packages and their order are those of import-linter's contract in setup.cfg; an arrow is an import, omitted if a
longer path leads to the same package.
"""

import configparser
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "```mermaid\n", "```\n"


def packages():
    """Return the names of the packages in the contract, from the top to the bottom."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["importlinter:contract:layers"]["layers"].split("\n")
    return [name.strip() for line in lines for name in line.split(":") if name.strip()]


def imports(names):
    """Return {package: packages that it imports}."""
    graph = grimp.build_graph("gluon_nst")
    for name in names:
        if graph.find_descendants(f"gluon_nst.{name}"):
            graph.squash_module(f"gluon_nst.{name}")
    imported = {name: graph.find_modules_directly_imported_by(f"gluon_nst.{name}") for name in names}
    return {
        name: ({each.split(".")[1] for each in modules if "." in each} & {*names}) - {name}
        for name, modules in imported.items()
    }


def reduced(edges):
    """Return the transitive reduction of `edges`."""

    def below(name):
        return {name}.union(*map(below, edges[name]))

    return {
        name: {each for each in targets if not any(each in below(other) for other in targets - {each})}
        for name, targets in edges.items()
    }


def diagram():
    """Return the Mermaid code."""
    names = packages()
    edges = reduced(imports(names))
    arrows = [f"    {name} --> {each}" for name in names for each in sorted(edges[name], key=names.index)]
    return "\n".join(["flowchart TD", *arrows, ""])


def drawn(page):
    """Return the text of a `page` with the updated diagram."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + diagram() + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
