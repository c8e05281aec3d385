"""Pickles that hold only text, read without unpickling.

Unpickling a file means running it. Here `pickletools` only lists its instructions. Those that build strings, lists,
tuples and dicts are followed, and any other is an error; there is no code here for those that import or call.
"""

import pickletools
from typing import Any

from ...errors import AnnotationError
from .annotation_file import AnnotationFile

_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}
_REMEMBER = {"PUT", "BINPUT", "LONG_BINPUT"}
_RECALL = {"GET", "BINGET", "LONG_BINGET"}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = {"PROTO", "FRAME"}


def read_plain_pickle(file: AnnotationFile) -> Any:
    """Read the strings, lists, tuples and dicts that a pickle describes.

    Raises:
        AnnotationError: The pickle describes anything else, or is damaged.
    """
    try:
        return _follow(file.read_bytes())
    except (LookupError, OverflowError, TypeError, ValueError) as err:
        if isinstance(err, AnnotationError):
            raise
        raise AnnotationError(
            f"'{file}' is not a pickle of text only ({err}). No other pickle is read, because unpickling runs code. "
            "Convert it to JSON, captions by video, with the program that wrote it."
        ) from err


def _follow(data: bytes) -> Any:
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in _STRINGS:
            stack.append(argument)
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _REMEMBER:
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _RECALL:
            stack.append(memo[argument])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("LIST", "TUPLE"):
            items = since_mark()
            stack.append(items if name == "LIST" else tuple(items))
        elif name in _SHORT_TUPLES:
            items = [stack.pop() for _ in range(_SHORT_TUPLES[name])]
            stack.append(tuple(reversed(items)))
        elif name in ("APPEND", "APPENDS"):
            items = since_mark() if name == "APPENDS" else [stack.pop()]
            _appendable(stack, list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            _appendable(stack, dict).update(zip(items[::2], items[1::2], strict=True))
        elif name == "DICT":
            items = since_mark()
            stack.append(dict(zip(items[::2], items[1::2], strict=True)))
        elif name == "STOP":
            return stack.pop()
        elif name not in _IGNORED:
            raise ValueError(f"it contains the instruction {name}")
    raise ValueError("its end is missing")


def _appendable(stack: list[Any], kind: type) -> Any:
    if not isinstance(stack[-1], kind):
        raise ValueError(f"it adds items to something that is not a {kind.__name__}")
    return stack[-1]
