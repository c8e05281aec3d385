"""Annotation files found by name below a folder, plain or in zip archives."""

import os
import zipfile
from pathlib import Path, PurePosixPath

from ...errors import AnnotationError
from .annotation_file import READ_ERRORS, AnnotationFile
from .video_folder import walk_files


class AnnotationNotFoundError(AnnotationError):
    """A split's annotation file is not there at all."""


class AnnotationFolder:
    """The annotation files below a folder; also those in its zip archives, which are read without unpacking.

    Args:
        root: a folder; the names of its files are matched without regard to case.

    Raises:
        AnnotationError: there is no such folder.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root)
        self._plain: dict[str, list[AnnotationFile]] = {}
        self._zipped: dict[str, list[AnnotationFile]] = {}
        for name in walk_files(self.root):
            path = self.root / name
            self._plain.setdefault(path.name.lower(), []).append(AnnotationFile(path))
            if path.suffix.lower() == ".zip":
                for member in _members(path):
                    base = PurePosixPath(member).name.lower()
                    self._zipped.setdefault(base, []).append(AnnotationFile(path, member))

    def find(self, *names: str) -> AnnotationFile | None:
        """The first of `names` that is there; a plain file goes before one in an archive.

        Raises:
            AnnotationError: more than one file has that name.
        """
        for name in names:
            files = self._plain.get(name.lower()) or self._zipped.get(name.lower()) or []
            if len(files) > 1:
                raise AnnotationError(
                    f"{len(files)} files are called '{name}': '{files[0].path}', '{files[1].path}'. "
                    "Give the data set's own folder as `root`."
                )
            if files:
                return files[0]
        return None

    def require(self, *names: str) -> AnnotationFile:
        """The first of `names` that is there.

        Raises:
            AnnotationNotFoundError: none is.
            AnnotationError: more than one file has that name.
        """
        file = self.find(*names)
        if file is None:
            raise AnnotationNotFoundError(
                f"No annotation file in '{self.root}'. Put one of these there: {', '.join(names)}."
            )
        return file


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if not PurePosixPath(name).name.startswith(".")]
    except READ_ERRORS:
        return []  # not an archive: nothing to find in it
