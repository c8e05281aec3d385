"""Video files in a folder, found by the names that annotation files give them."""

import os
import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

from ...errors import AnnotationError
from ...video.suffixes import has_video_suffix, walk_files


def check_folder(root: Path) -> None:
    """Raise AnnotationError unless `root` is a folder."""
    if not root.is_dir():
        raise AnnotationError(f"'{root}' is not a folder. Give the folder that holds the data set.")


def strip_suffixes(name: str) -> str:
    """Strip every video suffix from a file name, which may have more than one: `clip.mov.mp4` -> `clip`."""
    while has_video_suffix(name):
        name = name.rpartition(".")[0]
    return name


def portable(name: str) -> str:
    """Normalise a file name for comparison: `/` between folders, and composed accents (macOS decomposes them)."""
    return unicodedata.normalize("NFC", name).replace("\\", "/")


class VideoFolder:
    """The videos in a folder and its subfolders. No name can lead to a file outside the folder.

    Args:
        root: The folder. Links in it are followed, since only the owner of the data can have put them there.

    Raises:
        AnnotationError: There is no such folder.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root)
        check_folder(self.root)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the paths of all videos, relative to the folder and sorted."""
        return iter(sorted({name for names in self._names.values() for name in names}))

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        """Paths of the videos by their name without suffix, both with and without the subfolders."""
        found: dict[str, list[str]] = {}
        for name in walk_files(self.root):
            stripped = strip_suffixes(portable(name))
            if stripped != portable(name):
                for key in {stripped, PurePosixPath(stripped).name}:
                    found.setdefault(key, []).append(name)
        return found

    def video_id(self, name: str) -> str:
        """Return what identifies the video that an annotation file calls `name`: its path in the folder, no suffix.

        Raises:
            ValueError: `name` leads out of the folder.
        """
        return strip_suffixes(self._relative(name))

    def find(self, name: str) -> Path | None:
        """Find the file of a video: the file at exactly this path, or the only one of this name in any subfolder.

        Args:
            name: The name in the annotation file, with or without suffix, with or without subfolders.

        Returns:
            The path, or None if there is no such file.

        Raises:
            ValueError: `name` leads out of the folder, or matches several files.
        """
        name = self._relative(name)
        key = strip_suffixes(name)
        if key != name and os.path.isfile(self.root / name):
            return self.root / name  # without walking through the whole folder, which may be a home directory
        candidates = self._names.get(key, [])
        for matches in (
            lambda candidate: candidate == name,
            lambda candidate: PurePosixPath(candidate).name == name,
            lambda candidate: strip_suffixes(candidate) == key,
            lambda candidate: True,
        ):
            files = [candidate for candidate in candidates if matches(portable(candidate))]
            if len(files) > 1:
                raise ValueError(
                    f"'{name}' may be '{files[0]}' or '{files[1]}'. "
                    "Remove one, or give the folder of the others as `videos`."
                )
            if files:
                path = self.root / files[0]
                return path if os.path.exists(path) else None  # a link may be broken
        return None

    def _relative(self, name: str) -> str:
        path = portable(name)
        if path.startswith("/") or re.match("[A-Za-z]:/", path):
            root = portable(os.path.abspath(self.root)).rstrip("/") + "/"
            if not path.startswith(root):
                raise ValueError(f"{name!r} is not in the video folder '{self.root}'. Give names relative to it.")
            path = path[len(root) :]
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts:
            raise ValueError(f"{name!r} is not in the video folder '{self.root}'. Give names relative to it.")
        return "/".join(parts)
