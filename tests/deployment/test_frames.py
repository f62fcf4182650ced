"""What workers answer is bytes that run nothing, whatever they are."""

import contextlib
import json
import os
import pickle

import pytest
from hypothesis import given, strategies as st

from secateur.deployment.frames import (
    LONGEST_ERROR,
    Question,
    answer_of,
    error_frame,
    is_last,
    result_frame,
)
from secateur.errors import MessageError, SecateurError, WorkerDiedError


class Bomb:
    """Makes a directory where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_last_words_are_told_from_others():
    error = MessageError("cut off", kind="input")
    assert not is_last(error_frame(error))
    last = error_frame(error, last=True)
    assert is_last(last)
    with pytest.raises(MessageError, match="cut off"):
        answer_of(last)


def test_results_come_back():
    assert answer_of(result_frame(b"+result")) == b"+result"
    assert answer_of(result_frame(b"")) == b""


def test_questions_come_back(tmp_path):
    for message in (b"", b"\n{\n", bytes(range(256))):
        asked = Question("a" * 64, tmp_path / "é", ("b" * 64, "c" * 64), message)
        assert Question.open(asked.seal()) == asked


def test_errors_of_ours_come_back_with_their_facts():
    with pytest.raises(MessageError, match="cut off") as raised:
        answer_of(error_frame(MessageError("cut off", kind="input", problem=None)))
    assert (raised.value.kind, raised.value.problem) == ("input", None)
    with pytest.raises(FileNotFoundError, match="gone"):
        answer_of(error_frame(FileNotFoundError("gone")))


def test_errors_of_others_are_told_of():
    with pytest.raises(RuntimeError, match="ZeroDivisionError: by nothing"):
        answer_of(error_frame(ZeroDivisionError("by nothing")))
    frame = error_frame(MessageError("é" * 10**6, kind="input"))
    assert len(frame) <= LONGEST_ERROR
    with pytest.raises(RuntimeError, match="é"):
        answer_of(error_frame(MessageError("é", kind="é" * LONGEST_ERROR)))


ERROR = {"type": "MessageError", "message": "", "facts": {}}


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"x",
        b"-",
        b"-{",
        b"-" + b"[" * 50_000,
        b"-" + bytes(LONGEST_ERROR),
        *(
            b"-" + json.dumps(ERROR | changed).encode()
            for changed in (
                {"type": "KeyboardInterrupt"},
                {"type": "json"},
                {"type": "told"},
                {"type": ["MessageError"]},
                {"message": 3},
                {"facts": {"path": "x"}},
                {"facts": 3},
                {"facts": [["kind", "x", "y"]]},
            )
        ),
    ],
)
def test_frames_that_are_none_say_so(frame):
    with pytest.raises(WorkerDiedError, match="a worker answered with"):
        answer_of(frame)


def test_nothing_is_unpickled(tmp_path):
    bomb = pickle.dumps((Bomb(tmp_path / "exploded"), None))
    with pytest.raises(WorkerDiedError):
        answer_of(bomb)
    assert answer_of(b"+" + bomb) == bomb
    assert not list(tmp_path.iterdir())


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_result_or_an_error(content):
    for frame in (content, b"-" + content):
        with contextlib.suppress(SecateurError, FileNotFoundError, RuntimeError):
            assert frame == b"+" + answer_of(frame)
