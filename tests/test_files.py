"""Files: written whole or not at all, locked for one program at a time, found in the repository."""

import errno
import os
import shutil
import subprocess
import sys
import threading

import pytest

from crackutils import files


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "counts.npz"
    files.write_atomically(path, b"old")

    def disk_is_full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        files.write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    with open(path, "rb") as reader:  # a reader of the old file is not disturbed: it is renamed
        files.write_atomically(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_two_processes_may_write_one_file_at_once(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"

    def other_process(file):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "getpid", lambda: -1)
            files.write_atomically(path, b"theirs")
        file.write(b"ours")

    files.write_atomically(path, other_process)
    assert path.read_bytes() == b"ours" and list(tmp_path.iterdir()) == [path]


def test_a_default_is_the_repositorys_and_a_given_folder_the_working_directorys(tmp_path,
                                                                                 monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.resolve(None, "runs") == files.ROOT / "runs"
    for given in ("runs", "./runs", str(tmp_path / "runs"), tmp_path / "runs"):
        assert files.resolve(given, "runs") == tmp_path / "runs"
    assert files.resolve("~/mine", "runs") == tmp_path.home() / "mine"
    assert files.resolve("~nobody of that name/mine") == tmp_path / "~nobody of that name" / "mine"


def test_an_empty_name_stands_for_no_folder_and_one_that_is_read_must_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.optional("", "results") is None
    assert files.optional(None, "results") == files.ROOT / "results"
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/results is no folder: expected one"):
        files.optional("results", "results")
    (tmp_path / "results").mkdir()
    assert files.optional("results", "results") == tmp_path / "results"


def test_the_file_of_a_lock_is_never_deleted(tmp_path):
    path = tmp_path / "deep" / ".lock"
    with files.locked(path):
        first = path.stat().st_ino
    with files.locked(path):
        assert path.stat().st_ino == first
    assert path.stat().st_ino == first


def test_of_two_programs_the_second_waits_and_says_so(tmp_path, capsys):
    path, order = tmp_path / ".lock", []

    def second():
        with files.locked(path):
            order.append("second")

    with files.locked(path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(1)
        assert thread.is_alive()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert capsys.readouterr().out == (
        f"waiting for another program that is at work in {tmp_path}\n")


def test_who_does_not_want_to_wait_is_told_who_holds_the_lock(tmp_path):
    path = tmp_path / ".lock"
    told = pytest.raises(TimeoutError, match=f"work in {tmp_path}.*start again")
    with files.locked(path), told, files.locked(path, wait=False):
        raise AssertionError("two programs hold one lock")
    with files.locked(path, wait=False):
        pass


def test_a_package_without_its_repository_says_so_in_one_sentence(tmp_path):
    copy = tmp_path / "site-packages"
    shutil.copytree(files.ROOT / "crackutils", copy / "crackutils",
                    ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run([sys.executable, "-m", "crackutils.cli", "--help"], cwd=tmp_path,
                          text=True, capture_output=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(copy)})
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: crackutils needs its whole repository")
    assert str(copy) in last and "pip install -e ." in last
