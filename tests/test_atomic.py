"""A file or folder is there whole or not at all, and nothing is left beside it."""

from __future__ import annotations

import json

import pytest

from mv_peft.atomic import atomic_folder, atomic_write, write_json


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    file = tmp_path / "a.json"
    file.write_text("old")

    with pytest.raises(error), atomic_write(file) as temporary:  # noqa: PT012
        temporary.write_text("ne")
        raise error
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    file = tmp_path / "a.tar.gz"
    file.write_text("old")
    with atomic_write(file) as temporary:
        temporary.write_text("new")
        assert temporary.parent == file.parent
        assert temporary.suffix == ".gz"
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_process_left_is_replaced(tmp_path):
    file = tmp_path / "a.json"
    with atomic_write(file) as temporary:
        temporary.write_text("old")
    temporary.write_text("half")
    write_json(file, {"whole": True})
    assert json.loads(file.read_text()) == {"whole": True}
    assert list(tmp_path.iterdir()) == [file]


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": 2, "b": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}


@pytest.mark.parametrize("before", ["nothing", "empty"])
def test_a_folder_appears_whole(tmp_path, before):
    folder = tmp_path / "deep" / "folder"
    if before == "empty":
        folder.mkdir(parents=True)
    with atomic_folder(folder) as temporary:
        (temporary / "a").write_text("a")
        assert not folder.exists() or not any(folder.iterdir())
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]


def test_in_a_folder_that_holds_something_files_are_replaced(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("old")
    (folder / "notes").write_text("mine")

    with pytest.raises(OSError, match="full"), atomic_folder(folder) as temporary:  # noqa: PT012
        (temporary / "a").write_text("new")
        raise OSError("full")
    assert (folder / "a").read_text() == "old"
    with atomic_folder(folder) as temporary:
        (temporary / "a").write_text("new")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "new", "notes": "mine"}
    assert list(tmp_path.iterdir()) == [folder]
