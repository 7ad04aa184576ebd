"""The settings of the command `gluon-nst lab`: URL, number of workers, opening a browser."""

from gluon_nst.cli.lab import lab
from gluon_nst.cli.parser import build_parser
from gluon_nst.errors import InputError
from gluon_nst.lab.web import server
from gluon_nst.lab.web.server import Settings, choose_workers, ipv4_addresses, server_url

import pytest


def test_the_addresses_of_the_machine_are_read_from_proc(tmp_path):
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/fib_trie").write_text(
        "Main:\n  |-- 127.0.0.1\n     /32 host LOCAL\n  |-- 192.168.1.20\n     /32 host LOCAL\n"
        "  |-- 192.168.1.255\n     /32 link BROADCAST\n"
    )
    assert ipv4_addresses(str(tmp_path)) == ["192.168.1.20"]
    assert ipv4_addresses(str(tmp_path / "none")) == []


@pytest.mark.parametrize(("text", "path"), [("/lab/", "/lab/"), ("lab", "/lab/"), ("a/b", "/a/b/"), ("/", "/")])
def test_a_base_url_has_a_slash_at_both_ends(text, path):
    assert build_parser().parse_args(["lab", "--base-url", text]).base_url == path


@pytest.mark.parametrize("text", ["/../", "lab/./b", "..", "/lab//b", "/a b/"])
def test_an_invalid_base_url_is_refused(text):
    with pytest.raises(InputError, match="is not a path such as /lab/"):
        build_parser().parse_args(["lab", "--base-url", text])


def test_the_number_of_workers_can_be_set(tmp_path):
    assert choose_workers(Settings(tmp_path, workers=3))[0] == 3
    workers, threads = choose_workers(Settings(tmp_path))
    assert workers >= 1
    assert threads >= 1
    assert Settings(tmp_path).is_local
    assert Settings(tmp_path, "::1").is_local
    assert not Settings(tmp_path, "0.0.0.0").is_local


@pytest.mark.parametrize(
    ("options", "windows", "terminal", "opens"),
    [
        ([], ":0", True, True),
        (["--no-browser"], ":0", True, False),
        (["--host", "0.0.0.0"], ":0", True, False),
        ([], "", True, False),
        ([], ":0", False, False),
    ],
)
def test_a_browser_is_opened_on_a_local_desktop_only(monkeypatch, options, windows, terminal, opens):
    async def serve(settings, notify, on_open):
        on_open(server_url(settings))
        return 0

    opened = []
    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("DISPLAY", windows)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(KeyboardInterrupt, match="everything is kept when the same command opens the lab again"):
        lab(build_parser().parse_args(["lab", *options]))
    assert opened == (["http://127.0.0.1:7860"] if opens else [])
