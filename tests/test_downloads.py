"""Downloads from a real server on 127.0.0.1 that behaves badly in every known way."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from test_archives import CONTENT, below, zipped

from crackutils import cli
from crackutils.data import download
from crackutils.data.download import Source, fetch
from crackutils.data.samples import DataError

ARCHIVE = zipped({**CONTENT, "rgb/noise.png": np.random.default_rng(0).bytes(300_000)})


class Server(BaseHTTPRequestHandler):
    """Answers by its path's name; `asked` are the (name, Range) it was asked for."""

    asked: list = []

    def do_GET(self):  # noqa: N802 (http.server's name)
        name, begin = self.path.strip("/"), self.headers.get("Range")
        self.asked.append((name, begin))
        first = int(begin[6:-1]) if begin and name != "ignores-ranges" else 0
        sent = 0 if name == "wrong-range" else first
        times = sum(other == name for other, _ in self.asked)
        if name.isdigit() or name == "busy-once" and times == 1:
            self.send_response(int(name) if name.isdigit() else 503)
            self.end_headers()
            return
        body = {"wrong": bytes(len(ARCHIVE)), "longer": ARCHIVE + b"x",
                "shorter": ARCHIVE[:-9]}.get(name, ARCHIVE)[sent:]
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {sent}-{len(ARCHIVE) - 1}/{len(ARCHIVE)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut_off = name in ("cuts", "ignores-ranges", "wrong-range") and times < 3 or name == "dies"
        self.wfile.write(body[:len(body) // 2] if cut_off else body)
        self.close_connection = True

    def log_message(self, *_):
        pass


def visible(folder) -> list[str]:
    """The names in a folder but for the locks, which stay."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    Server.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def source(server: str, *names: str) -> dict[str, Source]:
    return {"set": Source("example.org/set", "choose \"Download\"", "set.zip", len(ARCHIVE),
                          hashlib.sha256(ARCHIVE).hexdigest(),
                          tuple(f"{server}/{name}" for name in names))}


@pytest.mark.parametrize("name, asked", [
    ("whole", 1), ("busy-once", 2), ("cuts", 3), ("ignores-ranges", 3), ("wrong-range", 3)])
def test_it_arrives_whole_whatever_the_server_does(server, tmp_path, name, asked):
    folder = fetch("set", tmp_path, source(server, name))
    assert folder == tmp_path / "set" and CONTENT.items() <= below(folder).items()
    assert len(Server.asked) == asked
    if name == "cuts":  # it went on where it was cut off
        begins = [int(begin[6:-1]) for _, begin in Server.asked[1:]]
        half = len(ARCHIVE) // 2
        assert half - download.DOWNLOAD_BLOCK < begins[0] <= half < begins[1] < len(ARCHIVE)
    assert visible(tmp_path) == ["set", "set.zip"]


@pytest.mark.parametrize("name, words", [
    ("404", "404"), ("403", "403"), ("503", "503"), ("wrong", "hash"), ("longer", "more than"),
    ("shorter", "connection broke"), ("dies", "gave up after 5 attempts")])
def test_what_fails_says_how_to_get_it_by_hand(server, tmp_path, name, words):
    with pytest.raises(DataError) as error:
        fetch("set", tmp_path, source(server, name))
    text = str(error.value)
    assert words in text and "\n" not in text and f"{server}/{name}" in text
    assert f"put set.zip ({len(ARCHIVE):,} bytes) into {tmp_path}, and run this again" in text
    assert not (tmp_path / "set").exists() and not (tmp_path / "set.zip").exists()


def test_a_second_address_is_tried_and_goes_on_behind_the_first(server, tmp_path):
    fetch("set", tmp_path, source(server, "404", "dies", "whole"))
    assert [name for name, _ in Server.asked] == ["404"] + ["dies"] * 5 + ["whole"]
    assert Server.asked[-1][1] is not None  # not from the beginning


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "set.zip").write_bytes(ARCHIVE)  # by hand
    first = fetch("set", tmp_path, source(server, "404"))
    assert fetch("set", tmp_path, source(server, "404")) == first and Server.asked == []


def test_a_next_program_goes_on_with_what_the_last_one_got(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(ARCHIVE[:1000])
    fetch("set", tmp_path, source(server, "whole"))
    assert Server.asked == [("whole", "bytes=1000-")]


def test_harmed_bytes_of_an_earlier_program_are_not_kept(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(bytes(1000))
    with pytest.raises(DataError, match="hash"):
        fetch("set", tmp_path, source(server, "whole"))
    assert not (tmp_path / "set.zip.part").exists()
    fetch("set", tmp_path, source(server, "whole"))


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
            other).hexdigest(), (f"{server}/whole",))})


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
