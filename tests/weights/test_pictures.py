import hashlib

import gluon_nst as nst
from gluon_nst import cli
from gluon_nst.weights import pictures
from gluon_nst.weights.cache import cache_folder

import pytest

from weights_servers import Server, dead_url


@pytest.fixture
def book(content, style, tmp_path, monkeypatch):
    """Serve two small pictures in place of the book's, with an empty cache."""
    files = {"rainier.jpg": content.read_bytes(), "autumn-oak.jpg": style.read_bytes()}
    hashes = {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in files.items()}
    server = Server()
    server.files.update({f"/{name}": data for name, data in files.items()})
    monkeypatch.setattr(pictures, "BOOK", server.url)
    monkeypatch.setattr(pictures, "BOOK_HASHES", hashes)
    monkeypatch.setenv("GLUON_NST_CACHE", str(tmp_path / "cache"))
    yield server
    server.close()


def test_the_projects_pictures_are_large_enough():
    for path in pictures.own_pictures():
        assert min(nst.read_image(path).shape[:2]) >= 900


def test_the_books_pictures_are_downloaded_once(book):
    first, second = pictures.book_pictures(), pictures.book_pictures()
    assert [path.name for path in first] == ["rainier.jpg", "autumn-oak.jpg"]
    assert first == second
    assert all(path.is_file() for path in first)
    assert set(book.gets.values()) == {1}


def test_a_picture_with_another_hash_is_refused_and_not_kept(book):
    book.files["/autumn-oak.jpg"] = b"something else"
    with pytest.raises(nst.NSTError, match="autumn-oak.jpg .*SHA256 [0-9a-f]{64}, not the published"):
        pictures.book_pictures()
    assert not list(cache_folder("pictures").glob("*autumn*"))


@pytest.mark.slow
def test_an_unreachable_book_is_an_error_of_the_chapter(book, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(pictures, "BOOK", dead_url())
    assert cli.main(["chapter", "--book-images", "--out", str(tmp_path / "out")]) == 1
    err = capfd.readouterr().err
    assert err.startswith("error: ")
    assert "rainier.jpg" in err
    assert "--content and --style" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
