"""Files and directories appear whole or not at all."""

import os

import pytest

from secateur.files import whole_directory, write_whole


def test_a_file_is_written_and_replaced(tmp_path):
    write_whole(tmp_path / "a", b"one")
    write_whole(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_cannot_be_renamed_leaves_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a"):
        write_whole(tmp_path / "a", b"one")
    assert os.listdir(tmp_path) == ["a"]


def test_a_directory_appears_when_it_is_full(tmp_path):
    with whole_directory(tmp_path / "new" / "d") as directory:
        (directory / "a").write_text("1")
        assert not (tmp_path / "new" / "d").exists()
    assert os.listdir(tmp_path / "new") == ["d"]
    assert os.listdir(tmp_path / "new" / "d") == ["a"]


def test_an_empty_directory_is_filled(tmp_path):
    (tmp_path / "d").mkdir()
    with whole_directory(tmp_path / "d") as directory:
        (directory / "a").write_text("1")
    assert os.listdir(tmp_path / "d") == ["a"]


def test_a_failure_leaves_nothing(tmp_path):
    def fill_half():
        with whole_directory(tmp_path / "d") as directory:
            (directory / "a").write_text("1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fill_half()
    assert os.listdir(tmp_path) == []


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    with pytest.raises(FileExistsError, match="exists already"), whole_directory(tmp_path / "d"):
        pass
    assert (tmp_path / "d" / "a").read_text() == "1"
