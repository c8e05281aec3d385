"""The video files of a folder, and the one list of suffixes by which they are known."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import MVPeftError

VIDEO_SUFFIXES = {
    ".3g2",
    ".3gp",
    ".3gpp",
    ".asf",
    ".avi",
    ".divx",
    ".flv",
    ".gif",
    ".m2ts",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
} | {".mpg", ".mts", ".ogv", ".qt", ".ts", ".webm", ".wmv"}
# Some of DiDeMo's files end in these two: its authors asked Flickr for the suffix, and this is what they were given.
_RECOGNISED = VIDEO_SUFFIXES | {".", ".null"}


def has_video_suffix(name: str) -> bool:
    """Whether a file of this name is a video; a name that consists of a suffix alone (`.mp4`) is a hidden file."""
    stem, dot, suffix = name.rpartition(".")
    return stem[-1:] not in ("", "/") and (dot + suffix).lower() in _RECOGNISED


def find_videos(folder: str | os.PathLike) -> list[Path]:
    """Find the video files in a folder and its subfolders, by suffix.

    Hidden files and folders are left out, `._clip.mp4` for example, which macOS writes beside `clip.mp4`.

    Returns:
        The paths, sorted.

    Raises:
        MVPeftError: The folder does not exist or holds no video.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MVPeftError(f"'{folder}' is not a folder. Give the folder that holds the videos.")
    paths = sorted(folder / name for name in walk_files(folder) if has_video_suffix(name))
    if not paths:
        raise MVPeftError(
            f"'{folder}' holds no video. Looked for files that end in {', '.join(sorted(VIDEO_SUFFIXES))}, "
            "also in subfolders."
        )
    return paths


def walk_files(folder: Path) -> Iterator[str]:
    """List the files in a folder and its subfolders by their paths relative to it, sorted folder by folder.

    Hidden files and folders are left out. Links are followed, but never in a circle.
    """
    seen = set()
    for current, subfolders, names in os.walk(folder, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        real = os.path.realpath(current)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        relative = os.path.relpath(current, folder)
        for name in sorted(names):
            if not name.startswith("."):
                yield os.path.normpath(os.path.join(relative, name))
