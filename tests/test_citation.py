"""CITATION.cff: what the Citation File Format requires, and what setup.cfg says too; CI checks it with cffconvert."""

import configparser
from pathlib import Path

import gluon_nst as nst

import yaml

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_version_and_names_the_book():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    metadata = config["metadata"]
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version", "license", "references"} <= set(citation)
    assert citation["title"] == metadata["name"]
    assert citation["version"] == nst.__version__
    assert citation["license"] == metadata["license"]
    assert citation["authors"] == [{"name": metadata["author"]}]
    book, paper = citation["references"]
    assert book["title"] == "Dive into Deep Learning"
    assert paper["doi"] == "10.1109/CVPR.2016.265"
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)
