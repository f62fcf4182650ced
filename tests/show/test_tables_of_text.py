import pytest

from networks import example
from secateur import Certificate, Ranges, analyze, explain, grid, sweep, verify
from secateur.show.tables import Displayed, Table, printable, text


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


class Hostile(Displayed):
    def display(self):
        return "a <b>\x1b[2J</b>", Table(("<c>",), [("\x1b",)])


def test_what_is_displayed_is_printable_in_a_terminal_and_escaped_in_a_notebook():
    assert str(Hostile()) == "a <b>\\x1b[2J</b>\n<c>\n\\x1b"
    shown = Hostile()._repr_html_()
    assert shown.startswith("<pre>a &lt;b&gt;")
    assert "<th>&lt;c&gt;</th>" in shown


def test_all_that_people_look_at_is_shown_in_a_notebook():
    network = example("mlp")
    report, certificate = analyze(network), Certificate.of(network)
    last = network.operations[-1].name
    for value in (
        report,
        report[last].channels,
        certificate,
        explain(network),
        sweep(grid(layer=[last]), lambda point: {"bits": 5}),
    ):
        assert f"<td>{last}</td>" in value._repr_html_() or isinstance(value, Ranges)
        assert "<table>" in value._repr_html_()
    assert verify(certificate, network)._repr_html_() == "<pre>the certificate holds</pre>"


def test_a_circuit_and_its_price_are_shown_in_a_notebook():
    pytest.importorskip("concrete")
    from secateur import compile

    circuit = compile(example("mlp"))
    for value in (circuit, circuit.price):
        assert "lookups, complexity" in value._repr_html_()
        assert all(f"<td>{name}</td>" in value._repr_html_() for name in circuit.price.bits)
