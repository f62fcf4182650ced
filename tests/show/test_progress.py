import sys
import threading

import pytest

from secateur.show.progress import progress, track, waiting


def test_a_bar_says_what_and_how_far(terminal):
    shown = terminal()
    with progress("training", 3) as tell:
        tell(2, note="loss [bold]0.5")
    assert "training" in shown.getvalue()
    assert "2/3" in shown.getvalue()
    assert "loss [bold]0.5" in shown.getvalue()


def test_the_total_may_become_known_later(terminal):
    shown = terminal()
    with progress("sweep") as tell:
        tell(1)
        tell(2, 5)
    assert "2/5" in shown.getvalue()


def test_waiting_shows_the_time(terminal):
    shown = terminal()
    with waiting("making keys"):
        pass
    assert "making keys" in shown.getvalue()
    assert "0:00:00" in shown.getvalue()


def test_items_are_followed(terminal):
    shown = terminal()
    assert list(track("inference", [4, 5])) == [4, 5]
    assert "2/2" in shown.getvalue()


def test_one_item_is_not_worth_a_bar(terminal):
    shown = terminal()
    assert list(track("inference", [4])) == [4]
    assert shown.getvalue() == ""


def test_of_nested_bars_the_outermost_is_drawn(terminal):
    shown = terminal()
    with progress("outer", 1), progress("inner", 1) as tell:
        tell(1)
    assert "outer" in shown.getvalue()
    assert "inner" not in shown.getvalue()
    with progress("next", 1):
        pass
    assert "next" in shown.getvalue()


def test_threads_do_not_draw_over_each_other(terminal):
    shown = terminal()
    with progress("outer", 1):
        thread = threading.Thread(target=lambda: list(track("inner", [1, 2])))
        thread.start()
        thread.join()
    assert "inner" not in shown.getvalue()


def test_the_terminal_is_free_again_after_an_error(terminal):
    shown = terminal()
    with pytest.raises(ZeroDivisionError), progress("first", 1):
        _ = 1 / 0
    with progress("second", 1):
        pass
    assert "second" in shown.getvalue()


def test_nothing_is_drawn_off_a_terminal(capsys):
    with progress("training", 2) as tell:
        tell(1)
    with waiting("keys"):
        pass
    assert capsys.readouterr() == ("", "")


def test_nothing_is_drawn_without_rich(terminal, monkeypatch):
    shown = terminal()
    for module in ("rich", "rich.progress", "rich.console"):
        monkeypatch.setitem(sys.modules, module, None)
    with progress("training", 2) as tell:
        tell(1)
    assert shown.getvalue() == ""


def test_nothing_is_drawn_where_stderr_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with progress("training", 2) as tell:
        tell(1)
