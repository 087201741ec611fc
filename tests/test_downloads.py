"""Downloads from a real server on 127.0.0.1 that behaves badly in every known way."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
from test_archives import CONTENT, below, zipped

from crackutils import cli
from crackutils.data import download
from crackutils.data.download import Source, fetch
from crackutils.data.samples import DataError

ARCHIVE = zipped({**CONTENT, "rgb/noise.png": np.random.default_rng(0).bytes(300_000)})


class Server(BaseHTTPRequestHandler):
    """Answers by its path's name; `asked` are the names it was asked for."""

    asked: list = []

    def do_GET(self):  # noqa: N802 (http.server's name)
        name = self.path.strip("/")
        self.asked.append(name)
        times = self.asked.count(name)
        if name.isdigit() or name == "busy-once" and times == 1:
            self.send_response(int(name) if name.isdigit() else 503)
            self.end_headers()
            return
        body = {"wrong": bytes(len(ARCHIVE)), "longer": ARCHIVE + b"x",
                "shorter": ARCHIVE[:-9]}.get(name, ARCHIVE)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut_off = name == "cuts" and times < 3 or name == "dies"
        self.wfile.write(body[:len(body) // 2] if cut_off else body)
        self.close_connection = True

    def log_message(self, *_):
        pass


def visible(folder) -> list[str]:
    """The names in a folder but for the locks, which stay."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(pooch.core.time, "sleep", lambda _: None)
    Server.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def source(server: str, name: str) -> dict[str, Source]:
    return {"set": Source("example.org/set", "choose \"Download\"", "set.zip", len(ARCHIVE),
                          hashlib.sha256(ARCHIVE).hexdigest(), f"{server}/{name}")}


@pytest.mark.parametrize("name, asked", [("whole", 1), ("busy-once", 2), ("cuts", 3)])
def test_it_arrives_whole_whatever_the_server_does(server, tmp_path, name, asked):
    folder = fetch("set", tmp_path, source(server, name))
    assert folder == tmp_path / "set" and CONTENT.items() <= below(folder).items()
    assert Server.asked == [name] * asked
    assert visible(tmp_path) == ["set", "set.zip"]


@pytest.mark.parametrize("name, words", [
    ("404", "404"), ("403", "403"), ("503", "503"), ("wrong", "hash"), ("longer", "hash"),
    ("shorter", "hash"), ("dies", "Connection broken")])
def test_what_fails_says_how_to_get_it_by_hand(server, tmp_path, name, words):
    with pytest.raises(DataError) as error:
        fetch("set", tmp_path, source(server, name))
    text = str(error.value)
    assert words in text and "\n" not in text and f"{server}/{name}" in text
    assert f"put set.zip ({len(ARCHIVE):,} bytes) into {tmp_path}, and run this again" in text
    assert visible(tmp_path) == [] and len(Server.asked) == 1 + download.RETRIES


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "set.zip").write_bytes(ARCHIVE)  # by hand
    first = fetch("set", tmp_path, source(server, "404"))
    assert fetch("set", tmp_path, source(server, "404")) == first and Server.asked == []


@pytest.mark.parametrize("name", [name for name, one in download.SOURCES.items() if not one.file])
def test_what_needs_a_person_says_what_to_do_and_where_to_put_it(tmp_path, name, capsys):
    assert cli.main(["download", name, str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert download.SOURCES[name].page in said and str(Path(tmp_path) / name) in said
    assert said.count("\n") == 1


def test_an_archive_of_something_else_is_told(server, tmp_path):
    other = zipped({"readme.txt": b"nothing"})
    (tmp_path / "set.zip").write_bytes(other)
    with pytest.raises(DataError, match="in a known layout"):
        fetch("set", tmp_path, {"set": Source("p", "b", "set.zip", len(other), hashlib.sha256(
            other).hexdigest(), f"{server}/whole")})


def test_two_programs_at_once_fetch_it_once(server, tmp_path):
    sources = source(server, "whole")
    with ThreadPoolExecutor(2) as pool:  # threads: a lock of the operating system serves them too
        found = list(pool.map(lambda _: fetch("set", tmp_path, sources), range(2)))
    assert found == [tmp_path / "set"] * 2 and len(Server.asked) == 1
    assert visible(tmp_path) == ["set", "set.zip"]


def test_a_folder_that_can_not_be_written_is_told(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["download", "metu", str(tmp_path / "file")]) == 1
    assert "metu can't be written to" in capsys.readouterr().err
