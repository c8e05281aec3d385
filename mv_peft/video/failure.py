"""How the reader says that a file gives no frames."""

import os
import stat

from ..errors import VideoDecodeError


def decode_error(
    path: str, reason: str, remedy: str = "Replace the file, or skip it with `on_error='skip'`"
) -> VideoDecodeError:
    """The error to raise for `path`; `reason` and `remedy` are phrases without a full stop."""
    return VideoDecodeError(f"Cannot decode {path!r}: {reason}. {remedy}.")


def check_is_file(path: str) -> None:
    """Raise VideoDecodeError unless `path` is a regular file with something in it.

    A decoder handed a pipe or a device would wait for ever, and would treat `http://...` as an address.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as err:
        raise decode_error(path, getattr(err, "strerror", None) or str(err)) from err
    if not stat.S_ISREG(status.st_mode):
        raise decode_error(path, "not a regular file")
    if status.st_size == 0:
        raise decode_error(path, "the file is empty")
