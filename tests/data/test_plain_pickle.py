"""Pickles as data: text is read, and anything that would run code is refused without running it."""

import collections
import os
import pickle
import pickletools

import pytest

from mv_peft.data.annotations.annotation_file import AnnotationFile
from mv_peft.data.annotations.plain_pickle import read_plain_pickle
from mv_peft.errors import AnnotationError

SHARED = ["same", "words"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "content",
    [
        {},
        {"a": [["x", "y"], []], "ü": [], "t": ("1", ("2", "3"), ("4", "5", "6"), ("7",) * 9, ())},
        [SHARED, SHARED, {"again": SHARED}],
        ["long " * 100, "Zeile\nzwei", "\\ ' \"", "漢字"],
        {str(number): [str(number)] for number in range(3_000)},
    ],
)
def test_text_is_read_as_by_pickle(write, content, protocol):
    data = pickle.dumps(content, protocol)
    assert read_plain_pickle(AnnotationFile(write("a.pkl", data))) == pickle.loads(data) == content
    optimized = pickletools.optimize(data)
    assert read_plain_pickle(AnnotationFile(write("a.pkl", optimized))) == content


def test_text_written_by_python_2(write):
    data = b"(dp0\nS'vid'\np1\n(lp2\n(lp3\nS'a'\np4\naS'cat'\np5\naas."
    assert read_plain_pickle(AnnotationFile(write("a.pkl", data))) == {"vid": [["a", "cat"]]}


class Bomb:
    exploded = False

    def __reduce__(self):
        return (exec, ("from tests.data.test_plain_pickle import Bomb; Bomb.exploded = True",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_code_is_run(write, protocol):
    data = pickle.dumps({"a": [Bomb()]}, protocol)
    with pytest.raises(AnnotationError, match=r"'a.pkl' is not a pickle of text only .*GLOBAL.*Convert it to JSON"):
        read_plain_pickle(AnnotationFile(write("a.pkl", data)))
    assert not Bomb.exploded
    pickle.loads(data)
    assert Bomb.exploded  # the pickle does run when it is unpickled
    Bomb.exploded = False


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle",
        b".",
        b"]",
        b"(",
        b"t.",
        b"]a.",
        b"](e",
        b"}(X\x01\x00\x00\x00au.",
        b"}](X\x01\x00\x00\x00au.",
        b"h\x00.",
        b"\x94.",
        b"X\xff\xff\xff\xff.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x82\x01.",
        pickle.dumps(collections.OrderedDict(a="b")),
        pickle.dumps({"a": 3}),
        pickle.dumps({"a": os.getcwd}),
        pickle.dumps({"a": ["b"]})[:-3],
    ],
)
def test_other_and_damaged_pickles_are_refused(write, data):
    with pytest.raises(AnnotationError, match=r"'a.pkl' is not a pickle of text only \(.+\)"):
        read_plain_pickle(AnnotationFile(write("a.pkl", data)))
