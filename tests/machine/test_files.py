"""Files of the project that are installed outside of the package."""

import shutil

from gluon_nst import InputError
from gluon_nst.machine import files

import pytest


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Return the folders for a package's data, by the way of installation."""
    packages = tmp_path / "packages"
    monkeypatch.setattr(files, "__file__", str(packages / "gluon_nst/machine/files.py"))
    monkeypatch.setattr(files.sysconfig, "get_path", lambda name: str(tmp_path / "environment"))
    monkeypatch.setattr(files.site, "getuserbase", lambda: str(tmp_path / "user"))
    bases = {"environment": tmp_path / "environment", "--user": tmp_path / "user", "--target": packages}
    return {name: base / "share/gluon-nst" for name, base in bases.items()}


def test_a_file_of_the_project_is_found_however_it_was_installed(places, tmp_path):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/README.md").write_text("of another package")
    for folder in places.values():
        folder.mkdir(parents=True)
        (folder / "README.md").write_text("ours")
        assert files.shipped("README.md") == folder / "README.md"
        shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"README\.md: this file of the project is not installed"):
        files.shipped("README.md")


def test_in_a_clone_the_file_of_the_clone_is_used(places, tmp_path):
    for folder in (tmp_path / "packages", places["environment"]):
        (folder / "scripts").mkdir(parents=True)
        (folder / "scripts/notebook_chapter.py").write_text("")
    assert files.shipped("scripts/notebook_chapter.py") == tmp_path / "packages/scripts/notebook_chapter.py"
