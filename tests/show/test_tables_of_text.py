import pytest

from secateur.show.tables import Table, printable, text


def test_columns_are_aligned_and_lines_end_with_their_last_value():
    table = Table(("layer", "bits"), [("a long name", 4), ("b", None), ("c", 1 / 3)])
    assert str(table).split("\n") == [
        "layer        bits",
        "a long name  4",
        "b",
        "c            0.3333",
    ]


def test_rows_may_be_mappings_that_lack_columns():
    assert str(Table.of(("a", "b"), [{"b": 1, "c": 9}, {"a": 2}])).split("\n") == [
        "a  b",
        "   1",
        "2",
    ]


def test_a_table_without_rows_is_its_heading():
    assert str(Table(("a", "b"), [])) == "a  b"
    assert str(Table((), [])) == ""


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\n", "\r", "\x00", "\x9b", "\u202e", "\ud800"])
def test_no_control_character_reaches_a_terminal(hostile):
    shown = str(Table((f"name{hostile}",), [(f"{hostile}value",)]))
    assert shown.count("\n") == 1
    assert all(line.isprintable() for line in shown.split("\n"))
    assert printable(hostile).isascii()


def test_what_is_printable_stays_as_it_is():
    assert printable("Größe 3×3 → ok") == "Größe 3×3 → ok"


def test_html_is_escaped():
    assert Table(("<b>",), [("a & b",), (None,)]).html() == (
        "<table><thead><tr><th>&lt;b&gt;</th></tr></thead>"
        "<tbody><tr><td>a &amp; b</td></tr><tr><td></td></tr></tbody></table>"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(float("inf"), "inf"), (float("nan"), "nan"), (1e-7, "1e-7"), (True, "True"), (2**70, None)],
)
def test_other_numbers(value, shown):
    assert text(value) == (shown or str(value))
