"""How the reader reports that a file gives no frames."""

import os
import stat

from ..errors import VideoDecodeError


def decode_error(
    path: str, reason: str, remedy: str = "Replace the file, or skip it with `on_error='skip'`"
) -> VideoDecodeError:
    """Return the error to raise for `path`; `reason` and `remedy` are phrases without a full stop."""
    return VideoDecodeError(f"Cannot decode {path!r}: {reason}. {remedy}.")


def check_is_file(path: str) -> None:
    """Check that a path leads to a regular file that is not empty.

    A decoder would wait forever for a pipe or a device, and would take `http://...` for an address.

    Raises:
        VideoDecodeError: If it does not.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as err:
        raise decode_error(path, getattr(err, "strerror", None) or str(err)) from err
    if not stat.S_ISREG(status.st_mode):
        raise decode_error(path, "not a regular file")
    if status.st_size == 0:
        raise decode_error(path, "the file is empty")
