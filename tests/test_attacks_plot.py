import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drscale.attacks.plot import attack_view, climb_figure

ROW = {
    "query": "q1",
    "original": "a big <b>dog</b> & a dog",
    "attacked": "a large <b>dog</b> & a hound",
    "swaps": ["big -> large", "dog -> hound"],
    "places": [2, 21],
    "rank_before": 1234,
    "rank_after": 7,
    "score_before": 1.0,
    "score_after": 2.5,
    "words": 9,
    "similarity": 0.91,
    "source": "wordnet",
    "method": "gradient",
    "changed": True,
}


class Reader(HTMLParser):
    """The text of a page, and what stands in each tag."""

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        self.tags += [(self.open[-1], data)] if self.open else []


def read(view):
    reader = Reader()
    reader.feed(view.html)
    assert not reader.open
    return reader


def test_swaps_are_marked_in_both_texts_and_nothing_else_is():
    page = read(attack_view(ROW, {"q1": "what is <it>"}))
    assert [t for tag, t in page.tags if tag == "del"] == ["big", "dog"]
    assert [t for tag, t in page.tags if tag == "ins"] == ["large", "hound"]
    said = "".join(page.texts)
    for part in ("what is <it>", "1,234 → 7", "1.000 → 2.500", "2 of 9 words swapped", "similarity 0.91", "wordnet"):
        assert part in said
    assert ROW["original"] in said
    assert ROW["attacked"] in said


def test_an_unchanged_document_says_so():
    still = ROW | {"attacked": ROW["original"], "swaps": [], "places": [], "changed": False, "similarity": float("nan")}
    said = "".join(read(attack_view(still)).texts)
    assert "unchanged: no swap was kept" in said
    assert "similarity" not in said


def test_long_texts_end_behind_the_last_swap():
    tail = " tail" * 400
    row = ROW | {"original": ROW["original"] + tail, "attacked": ROW["attacked"] + tail}
    page = "".join(read(attack_view(row, most=10)).texts)
    assert "more characters" in page
    assert page.count("tail") < 60
    assert "hound" in page


def test_a_table_shows_a_card_a_row_and_is_a_page(tmp_path):
    rows = pd.DataFrame([ROW, ROW])
    view = attack_view(rows, "one query")
    assert view._repr_html_().count("one query") == 2
    assert "save" in repr(view)
    assert "<" not in repr(view), "what stands beside the HTML in a notebook should not be HTML again"
    page = view.save(tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "http" not in page
    rows.to_parquet(tmp_path / "rows.parquet")
    assert attack_view(pd.read_parquet(tmp_path / "rows.parquet"), "one query").html == view.html


@given(st.text(max_size=30), st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8), st.text(max_size=30))
def test_any_text_comes_out_as_it_went_in(before, old, new, after):
    old, new = old.replace(" -> ", ""), new.replace(" -> ", "")
    row = {"original": before + old + after, "attacked": before + new + after}
    row |= {"swaps": [f"{old} -> {new}"] if old else [], "places": [len(before)] if old else []}
    row["attacked"] = row["attacked"] if old else row["original"]
    markup = re.sub(r"<[^<>]*>", "", attack_view(row).html)
    assert "<" not in markup
    assert ">" not in markup.replace("&gt;", "")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"attacked": "else"}, "not the original with its swaps"),
        ({"places": [3, 21]}, "no 'big' at 3"),
        ({"places": [2]}, "2 swaps but 1 places"),
    ],
)
def test_rows_that_do_not_fit_are_refused(bad, said):
    with pytest.raises(ValueError, match=said):
        attack_view(ROW | bad)
    with pytest.raises(ValueError, match="original, attacked"):
        attack_view({"query": "x"})
    with pytest.raises(ValueError, match="no attacked passage"):
        attack_view(pd.DataFrame([ROW]).iloc[:0])


@pytest.mark.parametrize("dark", [False, True])
def test_the_climb_is_drawn(dark):
    rows = pd.DataFrame([ROW, ROW | {"rank_before": 300, "rank_after": 300, "changed": False, "swaps": []}])
    fig = climb_figure(rows, dark)
    drawn = {t.name: t for t in fig.data}
    assert list(drawn["attacked"].y) == [7]
    assert list(drawn["no swap was kept"].x) == [300]
    many = climb_figure(pd.DataFrame([ROW | {"swaps": ["<old> -> new"] * 50}]), dark).data[1].text[0]
    assert many.startswith("&lt;old&gt; -&gt; new")
    assert many.endswith(" …")
    assert fig.layout.yaxis.range[0] > fig.layout.yaxis.range[1]  # the top of the list is up
    with pytest.raises(ValueError, match="rank_after"):
        climb_figure(rows.drop(columns="rank_after"))
