import dataclasses
import json
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from secateur.errors import (
    FileFormatError,
    FileVersionError,
    JournalError,
    JournalLockedError,
    JournalWriteError,
)
from secateur.sweeps.journal import Journal, Recorded
from secateur.sweeps.points import identity
from secateur.sweeps.provenance import library_version
from secateur.sweeps.records import Failure, Outcome, Record

FINGERPRINT = {"evaluate": "digits.evaluate"}
FROZEN = Path(__file__).parent / "journal-of-format-1.jsonl"


def record(n, value=None, failure=None):
    point = {"n": n}
    values = {} if failure else {"value": n * n if value is None else value}
    return Record(n, identity(point), point, {}, Outcome(values, 0.25, failure))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.jsonl"


@pytest.fixture
def written(path):
    """A journal of three records, closed."""
    journal = Journal(path, FINGERPRINT)
    for n in range(3):
        journal.append(record(n))
    journal.close()
    return path


def test_what_is_appended_is_read_back(written):
    assert list(Recorded(written)) == [record(n) for n in range(3)]


def test_it_is_there_before_the_journal_is_closed(path):
    journal = Journal(path, FINGERPRINT)
    assert list(Recorded(path)) == []
    journal.append(record(7))
    assert list(Recorded(path)) == [record(7)]
    journal.close()


def test_every_line_is_json_and_the_first_is_the_fingerprint(written):
    first, *rest = [json.loads(line) for line in written.read_text().splitlines()]
    assert first["sweep"] == FINGERPRINT
    assert (first["format"], first["version"]) == ("secateur-journal", 2)
    assert [line["values"] for line in rest] == [{"value": n * n} for n in range(3)]


def test_find_gives_the_last_record_of_earlier_runs(written):
    journal = Journal(written, FINGERPRINT)
    assert journal.find(record(1).key) == record(1)
    assert journal.find(record(9).key) is None
    journal.append(record(1, value=-1))
    journal.append(record(9))
    assert journal.find(record(9).key) is None
    journal.close()
    journal = Journal(written, FINGERPRINT)
    assert journal.find(record(1).key) == record(1, value=-1)
    assert journal.find(record(9).key) == record(9)
    journal.close()


def test_failures_survive(path):
    failed = record(1, failure=Failure("ValueError", "b is 3", "Traceback …"))
    journal = Journal(path, FINGERPRINT)
    journal.append(failed)
    journal.close()
    assert list(Recorded(path)) == [failed]


@given(st.data())
def test_a_torn_tail_costs_its_record_alone(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("torn") / "runs.jsonl"
    journal = Journal(path, FINGERPRINT)
    for n in range(3):
        journal.append(record(n))
    journal.close()
    whole = path.read_bytes()
    kept = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:kept])
    complete = max(whole[:kept].count(b"\n") - 1, 0)

    journal = Journal(path, FINGERPRINT)
    assert [journal.find(record(n).key) for n in range(3)] == [
        record(n) if n < complete else None for n in range(3)
    ]
    for n in range(complete, 3):
        journal.append(record(n))
    journal.close()
    assert path.read_bytes() == whole


def test_a_reader_ignores_a_torn_tail_and_leaves_it(written):
    with written.open("ab") as file:
        file.write(b'{"index": 3, "ke')
    before = written.read_bytes()
    assert len(list(Recorded(written))) == 3
    assert written.read_bytes() == before


def test_a_damaged_line_is_named(written):
    lines = written.read_text().splitlines(keepends=True)
    lines[2] = lines[2][:20] + "\n"
    written.write_text("".join(lines))
    for read in (lambda: list(Recorded(written)), lambda: Journal(written, FINGERPRINT)):
        with pytest.raises(JournalError, match=r"line 3 is damaged.*delete that line") as caught:
            read()
        assert caught.value.line == 3
    written.write_text("".join(lines[:2] + lines[3:]))
    assert len(list(Recorded(written))) == 2


def test_a_journal_of_another_sweep_is_refused_with_the_difference(written):
    before = written.read_bytes()
    with pytest.raises(
        JournalError, match=r"evaluate was 'digits.evaluate', is 'cifar.evaluate'"
    ) as caught:
        Journal(written, {**FINGERPRINT, "evaluate": "cifar.evaluate"})
    assert "secateur" not in caught.value.difference
    assert written.read_bytes() == before
    Journal(written, FINGERPRINT).close()


def test_a_newer_journal_is_refused(written):
    written.write_text(written.read_text().replace('"version": 2', '"version": 3'))
    for read in (lambda: list(Recorded(written)), lambda: Journal(written, FINGERPRINT)):
        with pytest.raises(FileVersionError, match=r"version 3.*reads version 1 to 2; upgrade"):
            read()


@pytest.mark.parametrize(
    "content", [b"hello\n", b"hello", b"{}\n", b"\x80\x00\n", b'["journal"]\n']
)
def test_a_file_that_is_no_journal_is_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"journal of a sweep"):
        Journal(path, FINGERPRINT)
    assert path.read_bytes() == content


def test_the_frozen_journal_of_format_1_stays_readable():
    ok, failed = Recorded(FROZEN)
    assert ok.point == {"strategy": "magnitude", "bits": 4, "seed": 0}
    assert ok.values == {"accuracy": 0.875, "complexity": 1.5e9, "backend": "concrete-numpy"}
    assert ok.provenance == {"secateur": "0.1.0"}
    assert failed.outcome.failure.type == "ValueError"


def test_a_journal_of_format_1_goes_on(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text(FROZEN.read_text().replace("0.1.0", "0.0.1"))
    point = {"strategy": "magnitude", "bits": 4, "seed": 0}
    with pytest.warns(UserWarning, match=r"records of another version \(2 of secateur 0.0.1"):
        journal = Journal(path, FINGERPRINT)
    assert journal.find(identity(point)).values["accuracy"] == 0.875
    journal.append(record(7))
    journal.close()
    assert [r.point for r in Recorded(path)][::2] == [point, {"n": 7}]


def test_another_version_of_the_library_goes_on_and_is_told(path):
    journal = Journal(path, FINGERPRINT)
    journal.append(dataclasses.replace(record(1), provenance={"secateur": "0.0.1"}))
    journal.append(dataclasses.replace(record(2), provenance={"secateur": library_version()}))
    journal.close()
    with pytest.warns(UserWarning, match=r"1 of secateur 0.0.1; this is"):
        journal = Journal(path, FINGERPRINT)
    assert journal.find(record(1).key).provenance == {"secateur": "0.0.1"}
    journal.close()


def test_no_flipped_bit_is_believed(written):
    """Whatever bit flips, reading is an error, or all that was read is what was written."""
    whole = written.read_bytes()
    expected = list(Recorded(written))
    for at in random.Random(0).sample(range(8 * len(whole)), 1000):
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        written.write_bytes(damaged)
        with pytest.raises((JournalError, FileFormatError, FileVersionError)):
            list(Recorded(written))
    written.write_bytes(whole)
    assert list(Recorded(written)) == expected


def test_a_record_under_another_points_key_is_refused(path):
    journal = Journal(path, FINGERPRINT)
    journal.append(dataclasses.replace(record(1), key=record(2).key))
    journal.close()
    with pytest.raises(JournalError, match=r"line 2 is damaged.*key is not that of its point"):
        list(Recorded(path))


def test_two_sweeps_never_write_one_journal(path):
    journal = Journal(path, FINGERPRINT)
    with pytest.raises(JournalLockedError, match=r"written by another sweep"):
        Journal(path, FINGERPRINT)
    journal.close()
    Journal(path, FINGERPRINT).close()


def test_another_process_finds_it_locked(path):
    journal = Journal(path, FINGERPRINT)
    program = f"""
        from secateur.errors import JournalLockedError
        from secateur.sweeps.journal import Journal
        try:
            Journal({str(path)!r}, {FINGERPRINT})
        except JournalLockedError:
            print("locked")
    """
    run = [sys.executable, "-c", textwrap.dedent(program)]
    assert subprocess.run(run, capture_output=True, text=True).stdout == "locked\n"
    journal.close()
    assert subprocess.run(run, capture_output=True, text=True).stdout == ""


@pytest.mark.parametrize("where", ["missing/runs.jsonl", "."])
def test_a_place_that_cannot_be_written_is_named(tmp_path, where):
    with pytest.raises(JournalWriteError, match=r"cannot be opened for writing"):
        Journal(tmp_path / where, FINGERPRINT)


def test_a_full_disk_leaves_whole_records(path, with_helpers):
    """A limit on the size of files fails a write halfway, as a full disk does."""
    program = f"""
        import resource
        from secateur.errors import JournalWriteError
        from test_journal import FINGERPRINT, Journal, record

        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        journal = Journal({str(path)!r}, FINGERPRINT)
        try:
            for n in range(100):
                journal.append(record(n))
        except JournalWriteError as error:
            print(n, error)
    """
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=with_helpers,
        capture_output=True,
        text=True,
    ).stdout
    written, complaint = told.split(maxsplit=1)
    assert f"journal {path} cannot be written: File too large; every record in it is whole" in told
    assert "make room and run the same sweep again" in complaint
    assert list(Recorded(path)) == [record(n) for n in range(int(written))]
    assert path.stat().st_size <= 2000
    journal = Journal(path, FINGERPRINT)
    journal.append(record(int(written)))
    journal.close()
    assert len(list(Recorded(path))) == int(written) + 1
