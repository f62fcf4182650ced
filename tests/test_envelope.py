import json

import pytest

from secateur.envelope import Envelope
from secateur.errors import FileFormatError, FileVersionError, MissingExtraError, NetworkError

PLAIN = Envelope("thing", "secateur-thing", version=1)
GROWN = Envelope("thing", "secateur-thing", version=3, oldest=2)


def test_what_is_sealed_is_opened():
    sealed = PLAIN.seal({"n": 1})
    assert list(sealed) == ["format", "version", "secateur", "n"]
    assert PLAIN.open(sealed, "a")["n"] == 1
    assert PLAIN.read(json.dumps(sealed).encode(), "a") == sealed


@pytest.mark.parametrize("found", [None, [], "x", {}, {"format": "secateur-other", "version": 1}])
def test_another_format_is_refused(found):
    with pytest.raises(FileFormatError, match="a/b is no thing of this library") as caught:
        PLAIN.open(found, "a/b")
    assert caught.value.path == "a/b"


@pytest.mark.parametrize("version", [0, 2, -1, None, True, 1.0, "1", [1]])
def test_another_version_is_refused(version):
    sealed = PLAIN.seal({}) | {"version": version}
    with pytest.raises(FileVersionError, match="reads version 1; upgrade secateur") as caught:
        PLAIN.open(sealed, "a")
    assert (caught.value.version, caught.value.known) == (version, 1)


def test_a_range_of_versions_is_read():
    assert GROWN.open(GROWN.seal({}) | {"version": 2}, "a")["version"] == 2
    for version in (1, 4):
        with pytest.raises(FileVersionError, match="reads version 2 to 3"):
            GROWN.open(GROWN.seal({}) | {"version": version}, "a")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[" * 200_000, b'{"a": NaN}', b"9" * 100_000, b'{"format": "x"} x'],
    ids=range(7),
)
def test_bytes_that_are_no_json_are_refused(content):
    with pytest.raises(FileFormatError, match="a is") as caught:
        PLAIN.read(content, "a")
    assert caught.value.problem


@pytest.mark.parametrize(
    "raised", [KeyError("n"), RecursionError(), MemoryError(), OverflowError(), NetworkError("no")]
)
def test_whatever_content_is_stumbled_over_is_the_files_fault(raised):
    with pytest.raises(FileFormatError, match="holds no valid thing") as caught, PLAIN.reading("a"):
        raise raised
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    "raised",
    [FileNotFoundError(), MissingExtraError("x"), FileVersionError("x"), KeyboardInterrupt()],
    ids=lambda e: type(e).__name__,
)
def test_what_is_not_the_files_fault_passes(raised):
    with pytest.raises(type(raised)), PLAIN.reading("a"):
        raise raised
