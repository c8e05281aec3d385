"""Video files below a folder, found by the names that annotation files give them."""

import os
import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

from ...errors import AnnotationError

# DiDeMo's names also end in `.null` and in a bare dot: what Flickr gave when its authors asked for the suffix.
_VIDEO_SUFFIX = re.compile(
    "|3g2|3gp|3gpp|asf|avi|divx|flv|m2ts|m4v|mkv|mov|mp4|mpeg|mpg|mts|null|ogv|qt|ts|webm|wmv", re.IGNORECASE
)


def check_folder(root: Path) -> None:
    """Raise AnnotationError unless `root` is a folder."""
    if not root.is_dir():
        raise AnnotationError(f"'{root}' is not a folder. Give the folder that holds the data set.")


def walk_files(root: Path) -> Iterator[str]:
    """Names of the files below `root`, relative to it, sorted; hidden ones are left out, links are followed.

    Raises:
        AnnotationError: `root` is no folder.
    """
    check_folder(root)
    seen = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        here = os.path.realpath(folder)
        if here in seen:  # a link that leads back
            subfolders.clear()
            continue
        seen.add(here)
        below = os.path.relpath(folder, root)
        for name in sorted(names):
            if not name.startswith("."):
                yield os.path.normpath(os.path.join(below, name))


def strip_suffixes(name: str) -> str:
    """A name without the suffixes of video files, of which it may have several: `clip.mov.mp4` -> `clip`."""
    while True:
        stem, dot, suffix = name.rpartition(".")
        if not dot or not _VIDEO_SUFFIX.fullmatch(suffix) or stem[-1:] in ("", "/"):
            return name
        name = stem


def portable(name: str) -> str:
    """A name as it is compared: `/` between folders, accents composed (macOS takes them apart)."""
    return unicodedata.normalize("NFC", name).replace("\\", "/")


class VideoFolder:
    """The videos below a folder. A name can only ever lead to a file below it.

    Args:
        root: the folder; links in it are followed, since whoever may put them there owns the data.

    Raises:
        AnnotationError: there is no such folder.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root)
        check_folder(self.root)

    def __iter__(self) -> Iterator[str]:
        """Names of all videos, relative to the folder, sorted."""
        return iter(sorted({name for names in self._names.values() for name in names}))

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        """Names of the files, by name without suffix, with and without folders."""
        found: dict[str, list[str]] = {}
        for name in walk_files(self.root):
            stripped = strip_suffixes(portable(name))
            if stripped != portable(name):
                for key in {stripped, PurePosixPath(stripped).name}:
                    found.setdefault(key, []).append(name)
        return found

    def video_id(self, name: str) -> str:
        """What identifies the video that an annotation file calls `name`: its name below the folder, without suffix.

        Raises:
            ValueError: `name` leads out of the folder.
        """
        return strip_suffixes(self._below(name))

    def find(self, name: str) -> Path | None:
        """The file of a video: the one at this very place, or the only one of this name in any subfolder.

        Args:
            name: as an annotation file has it, with or without suffix, with or without folders.

        Raises:
            ValueError: `name` leads out of the folder, or fits several files.
        """
        name = self._below(name)
        key = strip_suffixes(name)
        if key != name and os.path.isfile(self.root / name):
            return self.root / name  # without a look at the whole folder, which may be a home directory
        candidates = self._names.get(key, [])
        for fits in (
            lambda candidate: candidate == name,
            lambda candidate: PurePosixPath(candidate).name == name,
            lambda candidate: strip_suffixes(candidate) == key,
            lambda candidate: True,
        ):
            files = [candidate for candidate in candidates if fits(portable(candidate))]
            if len(files) > 1:
                raise ValueError(
                    f"'{name}' may be '{files[0]}' or '{files[1]}'. "
                    "Remove one, or give the folder of the others as `videos`."
                )
            if files:
                path = self.root / files[0]
                return path if os.path.exists(path) else None  # a link may lead nowhere
        return None

    def _below(self, name: str) -> str:
        path = portable(name)
        if path.startswith("/") or re.match("[A-Za-z]:/", path):
            root = portable(os.path.abspath(self.root)).rstrip("/") + "/"
            if not path.startswith(root):
                raise ValueError(f"{name!r} is not below the video folder '{self.root}'. Give names relative to it.")
            path = path[len(root) :]
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts:
            raise ValueError(f"{name!r} is not below the video folder '{self.root}'. Give names relative to it.")
        return "/".join(parts)
