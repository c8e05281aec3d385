"""`mv-peft cache`: building, continuing and verifying a cache, and reporting videos that give no frames."""

import pytest

from mv_peft.cli.main import main
from mv_peft.video import VideoCache
from tests.video.clips import encode


@pytest.fixture
def folder(tmp_path):
    encode(tmp_path / "videos.mp4", num_frames=60)
    return tmp_path


def test_a_cache_is_built_continued_and_verified(folder, capsys):
    out = folder / "cache"
    assert main(["cache", "--videos", str(folder), "--out", str(out), "--format", "jpeg"]) == 0
    assert f"1 videos cached in '{out}', 0 were there; 0 wrong." in capsys.readouterr().out
    assert VideoCache(out).settings.format == "jpeg"
    assert main(["cache", "--videos", str(folder), "--out", str(out)]) == 0
    assert "0 videos cached" in capsys.readouterr().out
    assert main(["cache", "--out", str(out), "--verify"]) == 0
    with open(out / "data.bin", "r+b") as data:
        data.write(b"damage")
    assert main(["cache", "--out", str(out), "--verify"]) == 1
    assert "videos.mp4: damaged" in capsys.readouterr().out


def test_unreadable_videos_are_named(folder, capsys):
    (folder / "text.mp4").write_text("no video")
    assert main(["cache", "--videos", str(folder), "--out", str(folder / "cache")]) == 1
    out = capsys.readouterr().out
    assert "1 wrong" in out
    assert "text.mp4: Cannot decode" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "`--videos` is needed"),
        (["--verify", "--videos", "x"], "`--verify` changes nothing"),
        (["--videos", "x", "--frame-sampling", "random"], "invalid choice: 'random'"),
        (["--videos", "x", "--threads", "0"], "`--threads` must be positive, got 0"),
    ],
)
def test_mistakes_in_the_options(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit, match="2"):
        main(["cache", "--out", str(tmp_path / "c"), *options])
    assert message in capsys.readouterr().err


def test_a_folder_without_a_cache_is_an_error(tmp_path, capsys):
    assert main(["cache", "--out", str(tmp_path), "--verify"]) == 1
    assert "holds no frame cache" in capsys.readouterr().err
