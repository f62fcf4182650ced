"""The bench of scale: it runs, small, and its section says what the journal holds."""

import json

import pytest

pytest.importorskip("brevitas")
pytest.importorskip("matplotlib")

from benches import scale


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(scale, "BATCH", 4)
    monkeypatch.setattr(scale, "CASES", {"MLP tiny": lambda: scale._mlp(6, 5, 4, 3)})
    return "MLP tiny"


def test_every_stage_has_its_seconds_and_its_peak(tiny):
    figures = scale.measure(tiny)
    assert figures["weights"] == 6 * 5 + 5 * 4 + 4 * 3
    for stage in (*scale.STAGES, "run more", "Brevitas more"):
        seconds, peak = figures[stage]
        assert seconds > 0
        assert 10 < peak < 100_000


def test_what_the_journal_holds_is_not_measured_again(tiny, tmp_path, monkeypatch):
    journal = tmp_path / "scale.jsonl"
    journal.write_text(json.dumps(scale.measure(tiny)) + "\n")
    monkeypatch.setattr(scale.subprocess, "run", lambda *command, **options: pytest.fail("ran"))
    scale.run([tiny], journal)
    assert [figures["case"] for figures in scale.records(journal)] == [tiny]


def test_the_section_has_a_row_for_every_case(tiny, tmp_path):
    figures = scale.measure(tiny)
    larger = figures | {"case": "other", "weights": 10 * figures["weights"]}
    text = scale.report([figures, larger])
    assert text.count("| MLP tiny |") == text.count("| other |") == 3
    ratio = figures["run"][0] / figures["Brevitas"][0]
    assert f"| {ratio:.2f} |" in text
    scale.draw([figures, larger], tmp_path / "scale.png")
    assert (tmp_path / "scale.png").stat().st_size > 1000
