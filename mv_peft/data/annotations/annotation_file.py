"""An annotation file, plain or in a zip archive, read with errors that name the file and the line."""

import codecs
import csv
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import AnnotationError

_MAX_BYTES = 1 << 30
READ_ERRORS = (
    *(EOFError, LookupError, OSError, RuntimeError, ValueError),
    *(lzma.LZMAError, struct.error, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class AnnotationFile:
    """A file, or a member of a zip archive.

    Attributes:
        path: The file or the archive.
        member: The name in the archive; None for a plain file.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return self.path.name if self.member is None else f"{self.path.name}/{self.member}"

    @property
    def suffix(self) -> str:
        """The suffix in lower case, `.json` for example."""
        return PurePosixPath(self.member or self.path.name).suffix.lower()

    def read_bytes(self) -> bytes:
        """Read the content as bytes."""
        try:
            data = self._read_at_most(_MAX_BYTES + 1)
        except READ_ERRORS as err:
            reason = getattr(err, "strerror", None) or str(err) or type(err).__name__
            raise AnnotationError(f"Cannot read '{self}': {reason}. Replace the file.") from err
        if len(data) > _MAX_BYTES:
            raise AnnotationError(f"'{self}' is larger than {_MAX_BYTES} bytes. It cannot be an annotation file.")
        return data

    def _read_at_most(self, num_bytes: int) -> bytes:
        if self.member is None:
            with open(self.path, "rb") as file:
                return file.read(num_bytes)
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
            return file.read(num_bytes)

    def read_text(self) -> str:
        """Read the content as text: UTF-8, or UTF-16 if the file starts with its byte order mark."""
        data = self.read_bytes()
        is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        try:
            text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
        except UnicodeDecodeError as err:
            line = data.count(b"\n", 0, err.start) + 1
            raise AnnotationError(f"{self}, line {line}: not UTF-8 ({err.reason}). Save the file as UTF-8.") from err
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise AnnotationError(f"{self}, line {line}: a zero byte. Save the file as text in UTF-8.")
        return text

    def read_lines(self) -> Iterator[tuple[str, str]]:
        """Read the lines that are not blank, stripped, each with where it is for messages."""
        for number, line in enumerate(io.StringIO(self.read_text(), newline=None), start=1):
            if line.strip():
                yield f"{self}, line {number}", line.strip()

    def read_json(self) -> Any:
        """Read the file as one JSON document."""
        return _parse_json(self.read_text(), str(self))

    def read_json_lines(self) -> Iterator[tuple[str, Any]]:
        """Read one JSON document from each line, with where it is for messages."""
        for where, line in self.read_lines():
            yield where, _parse_json(line, where)

    def read_table(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Read the rows of a CSV file by the names in its header, each with where it is for messages.

        Columns are separated by commas, tabs or semicolons.
        """
        records = self._read_csv()
        _, header = next(records, (0, []))
        names = [name.strip() for name in header]
        if len(set(names)) < len(names):
            raise AnnotationError(f"{self}, line 1: two columns have the same name in {names}. Rename one.")
        for line, fields in records:
            where = f"{self}, line {line}"
            if len(fields) != len(names):
                raise AnnotationError(
                    f"{where}: {len(fields)} columns, the header has {len(names)}. Quote captions that have commas."
                )
            yield where, dict(zip(names, fields, strict=True))

    def _read_csv(self) -> Iterator[tuple[int, list[str]]]:
        text = self.read_text()
        header = text.lstrip().partition("\n")[0]
        delimiter = max(",\t;", key=header.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        line = 1
        try:
            for fields in reader:
                if fields:
                    yield line, fields
                line = reader.line_num + 1
        except csv.Error as err:
            raise AnnotationError(f"{self}, line {line}: not CSV ({err}).") from err


def _parse_json(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as err:
        line = where if ", line " in where else f"{where}, line {err.lineno}"
        raise AnnotationError(f"{line}: not JSON ({err.msg}).") from err
    except (RecursionError, ValueError) as err:
        raise AnnotationError(f"{where}: not usable JSON ({err}).") from err


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} appears twice")
    return mapping


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
