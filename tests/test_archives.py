"""Unpacking: what is whole is written, what is hostile is refused, and nothing is left behind."""

import io
import stat
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

import pytest

from crackutils.data.download import unpack
from crackutils.data.samples import DataError

CONTENT = {"rgb/001.jpg": b"picture", "rgb/002.JPG": bytes(range(256)) * 9, "BW/001.jpg": b""}


def vint(number: int) -> bytes:
    """RAR 5's numbers: seven bits a byte, the lowest first, the eighth bit if more follow."""
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def rar_block(body: bytes, data: bytes = b"") -> bytes:
    sized = vint(len(body)) + body
    return zlib.crc32(sized).to_bytes(4, "little") + sized + data


def rar_file(name: str, data: bytes, extra: bytes = b"", directory: bool = False) -> bytes:
    """A stored file: type 2, flags for data (and extra area), CRC, no compression, made on Unix."""
    fields = b"".join([
        vint(1 if directory else 4), vint(len(data)), vint(0o40755 if directory else 0o100644),
        b"" if directory else zlib.crc32(data).to_bytes(4, "little"), vint(0), vint(1),
        vint(len(name.encode())), name.encode()])
    sizes = (vint(len(extra)) if extra else b"") + vint(len(data))
    return rar_block(vint(2) + vint(2 | bool(extra)) + sizes + fields + extra, data)


def rar_link(name: str, target: str) -> bytes:
    """A symbolic link: an extra record of type 5, redirection of type 1."""
    record = vint(5) + vint(1) + vint(0) + vint(len(target)) + target.encode()
    return rar_file(name, b"", vint(len(record)) + record)


def rar(*files: bytes) -> bytes:
    return b"Rar!\x1a\x07\x01\x00" + rar_block(vint(1) + vint(0) + vint(0)) + b"".join(
        files) + rar_block(vint(5) + vint(0) + vint(0))


def zipped(files: dict[str, bytes], mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (mode or stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


WHOLE = {"rar": rar(rar_file("rgb", b"", directory=True),
                    *(rar_file(name, data) for name, data in CONTENT.items())),
         "zip": zipped(CONTENT), "tar.gz": tarred(CONTENT)}


def below(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def visible(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_whole_comes_out_as_it_was_put_in(tmp_path, kind):
    archive = tmp_path / f"set.{kind}"
    archive.write_bytes(WHOLE[kind])
    assert unpack(archive, tmp_path / "data" / "set") == tmp_path / "data" / "set"
    assert below(tmp_path / "data" / "set") == CONTENT
    assert visible(tmp_path / "data") == ["set"]


ONE = {"a.png": b"x"}
OUTSIDE = str(Path(tempfile.gettempdir()) / "crackutils-hostile.png")
HOSTILE = {
    "zip: out of the folder": (zipped({"../a.png": b"x"}), "out of its folder"),
    "zip: out of a folder within": (zipped({"rgb/../../a.png": b"x"}), "out of its folder"),
    "zip: absolute": (zipped({OUTSIDE: b"x"}), "out of its folder"),
    "zip: a drive": (zipped({"C:/a.png": b"x"}), "out of its folder"),
    "zip: backslashes": (zipped({"..\\a.png": b"x"}), "out of its folder"),
    "zip: a link": (zipped({"a.png": b"/etc/passwd"}, stat.S_IFLNK | 0o777), "link or a device"),
    "tar: out of the folder": (tarred({"../a.png": b"x"}), "out of its folder"),
    "tar: absolute": (tarred({OUTSIDE: b"x"}), "out of its folder"),
    "tar: a link": (tarred(ONE, tarfile.SYMTYPE, "/etc/passwd"), "link or a device"),
    "tar: a hard link": (tarred(ONE, tarfile.LNKTYPE, "b.png"), "link or a device"),
    "tar: a device": (tarred(ONE, tarfile.CHRTYPE), "link or a device"),
    "tar: a pipe": (tarred(ONE, tarfile.FIFOTYPE), "link or a device"),
    "rar: out of the folder": (rar(rar_file("../a.png", b"x")), "out of its folder"),
    "rar: absolute": (rar(rar_file(OUTSIDE, b"x")), "out of its folder"),
    "rar: a link": (rar(rar_link("a.png", "/etc/passwd")), "link or a device"),
    "rar: cut short": (WHOLE["rar"][:-500], "can't be"),
    "zip: a changed byte": (zipped({"a.png": bytes(range(256)) * 9}).replace(
        zlib.crc32(bytes(range(256)) * 9).to_bytes(4, "little"), b"abcd"), "damaged"),
    "rar: a changed header": (WHOLE["rar"].replace(b"BW/", b"BX/"), "can't be"),
    "zip: cut short": (WHOLE["zip"][:40], "can't be"),
    "zip: one name twice": (zipped({"a/b.png": b"x", "a": b"y"}), "of one name"),
    "no archive": (b"<html>please log in</html>" * 99, "can't be read as an archive"),
    "nothing": (b"", "empty archive"),
    "bomb of size": (zipped({"a.png": bytes(2_000_000)}), "refused as a bomb"),
    "bomb of number": (zipped({f"{index}.png": b"" for index in range(101)}),
                       "more than 100 files")}


@pytest.mark.parametrize("content, words", HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_or_harmed_is_refused_and_nothing_is_left(tmp_path, content, words):
    archive = tmp_path / "set.bin"
    archive.write_bytes(content)
    with pytest.raises(DataError) as error:
        unpack(archive, tmp_path / "data" / "set", most_bytes=1_000_000, most_files=100)
    text = str(error.value)
    assert words in text and text.endswith(".") and "\n" not in text and str(archive) in text
    assert visible(tmp_path / "data") == [] and visible(tmp_path) == ["data", "set.bin"]
    assert not Path(OUTSIDE).exists()


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "a.zip").write_bytes(WHOLE["zip"])
    with pytest.raises(DataError, match="exists already"):
        unpack(tmp_path / "a.zip", tmp_path / "set")
    assert list((tmp_path / "set").iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    (tmp_path / ".set.unpacking" / "rgb").mkdir(parents=True)
    (tmp_path / "a.zip").write_bytes(WHOLE["zip"])
    unpack(tmp_path / "a.zip", tmp_path / "set")
    assert visible(tmp_path) == ["a.zip", "set"]


def test_without_libarchive_the_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "libarchive", None)
    (tmp_path / "a.rar").write_bytes(WHOLE["rar"])
    with pytest.raises(DataError, match="install the package libarchive13 .*or unpack .*a.rar"):
        unpack(tmp_path / "a.rar", tmp_path / "set")
    assert visible(tmp_path) == ["a.rar"]
