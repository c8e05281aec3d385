"""The errors that mv_peft raises about the world; arguments raise ValueError and TypeError."""

from collections.abc import Iterable
from itertools import islice

_NUM_NAMED = 5


class MVPeftError(Exception):
    """Base class: `except MVPeftError` catches everything that mv_peft raises about files, checkpoints and data."""


class VideoDecodeError(MVPeftError, RuntimeError):
    """A video file cannot be read; the message names the path and the reason."""


class AnnotationError(MVPeftError, ValueError):
    """An annotation file is not in the form its benchmark circulates in; the message names file and line."""


class CheckpointError(MVPeftError, ValueError):
    """A checkpoint does not fit the model; the message names the keys and the way out."""


class CacheError(MVPeftError, RuntimeError):
    """A cache of frames cannot be used; the message names the folder or the video and the way out."""


class TrainingError(MVPeftError, RuntimeError):
    """A training cannot go on; the message names the step and the way out."""


class HubError(MVPeftError, RuntimeError):
    """The Hub did not do what was asked; the message names the repository, the status and the way out."""


def some_of(items: Iterable[str]) -> str:
    """Name the first items of a list in a message, and say how many more there are: "a, b, c, d, e and 4 more"."""
    rest = iter(items)
    first = ", ".join(islice(rest, _NUM_NAMED))
    num_more = sum(1 for _ in rest)
    return f"{first} and {num_more:,} more" if num_more else first
