"""Annotation files in a folder, found by their names, plain or in zip archives."""

import os
import zipfile
from pathlib import Path, PurePosixPath

from ...errors import AnnotationError
from ...video.suffixes import walk_files
from .annotation_file import READ_ERRORS, AnnotationFile
from .video_folder import check_folder


class AnnotationNotFoundError(AnnotationError):
    """The annotation file of a split does not exist."""


class AnnotationFolder:
    """The annotation files in a folder and its subfolders, including those in zip archives, read without unpacking.

    Args:
        root: The folder. File names are compared without regard to case.

    Raises:
        AnnotationError: There is no such folder.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root)
        check_folder(self.root)
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
        """Find the first of `names` that exists; a plain file takes precedence over one in an archive.

        Raises:
            AnnotationError: Several files have that name.
        """
        for name in names:
            files = self._plain.get(name.lower()) or self._zipped.get(name.lower()) or []
            if len(files) > 1:
                raise AnnotationError(
                    f"{len(files)} files are called '{name}': '{files[0].path}', '{files[1].path}'. "
                    "Give as `root` a folder that holds this data set only."
                )
            if files:
                return files[0]
        return None

    def require(self, *names: str) -> AnnotationFile:
        """Find the first of `names` that exists, and insist that one does.

        Raises:
            AnnotationNotFoundError: None of them exists.
            AnnotationError: Several files have that name.
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
        return []  # not an archive in spite of its suffix
