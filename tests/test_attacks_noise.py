"""Textual noise on passages: each of the ten kinds does what it says, nothing at strength 0, and the same again."""

from __future__ import annotations

import re
from collections import Counter
from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drscale.attacks.noise import NOISES, SENTENCEWISE, noisy, sentences

TEXT = (
    "Compute the inverse of a square matrix with real entries. The input is checked first, and an error is raised "
    "when it turns out singular! Returns an array of the same shape; the dtype is kept. See also solve."
)
OTHERS = (
    "Bananas grow best near warm coasts. They ripen slowly under yellow light. Monkeys like them very much indeed.",
    "Paris hosts many museums. Visitors queue for hours outside. Tickets sell online.",
)
TABLE = {"matrix": ["array", "grid"], "error": ["fault"], "array": ["row"]}


def known(word: str) -> list[str]:
    return TABLE.get(word, [])


def made(noise: str, text: str = TEXT, **options) -> list[str]:
    """The text under a hundred seeds."""
    return [noisy([text], noise, seed=s, others=OTHERS, synonyms=known, **options)[0] for s in range(100)]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@pytest.mark.parametrize("noise", [*NOISES, "random"])
def test_strength_0_changes_nothing_and_the_seed_says_the_rest(noise: str) -> None:
    texts = [TEXT, OTHERS[0], "One sentence only", "", "  spaces  around. And  within. ", "矩阵求逆。输入先检查。"]
    kept = {"others": OTHERS, "synonyms": known}
    assert noisy(texts, noise, strength=0, seed=3, **kept) == texts
    assert noisy(texts, noise, seed=3, **kept) == noisy(texts, noise, seed=3, **kept)
    assert len({tuple(noisy(texts, noise, seed=s, **kept)) for s in range(9)}) > (noise != "NoPunc")


@pytest.mark.parametrize("noise", NOISES)
def test_strength_1_changes_every_passage_that_can_be_changed(noise: str) -> None:
    assert TEXT not in made(noise, strength=1)


@pytest.mark.parametrize("noise", SENTENCEWISE)
def test_a_sentence_is_touched_as_often_as_the_strength_says(noise: str) -> None:
    one = "Compute the matrix inverse."
    share = sum(t != one for t in made(noise, one, strength=0.3)) / 100
    assert 0.15 < share < 0.45


def test_irrelevant_sentences_stand_at_the_head_in_the_middle_and_at_the_tail() -> None:
    own = [s.strip() for s in sentences(TEXT)]
    lengths = Counter()
    for noise in ("NrSentH", "NrSentM", "NrSentT"):
        for text in made(noise):
            parts = [s.strip() for s in sentences(text)]
            strange = [i for i, s in enumerate(parts) if s not in own]
            assert [s for s in parts if s in own] == own
            assert strange == list(range(strange[0], strange[0] + len(strange)))
            source = next(o for o in OTHERS if parts[strange[0]] in o)
            assert " ".join(parts[i] for i in strange) in source
            at_head, at_tail = strange[0] == 0, strange[-1] == len(parts) - 1
            assert (at_head, at_tail) == {"H": (True, False), "M": (False, False), "T": (False, True)}[noise[-1]]
            lengths[len(strange)] += 1
    assert set(lengths) == {1, 2, 3}


def test_irrelevant_means_hardly_a_word_in_common() -> None:
    alike = "Compute the inverse of a square matrix with real entries. The input is checked. An error is raised."
    for seed in range(30):
        text = noisy(["The matrix is square. Compute its inverse."], "NrSentT", seed=seed, others=[alike, OTHERS[1]])[0]
        assert "real entries" not in text


def test_a_sentence_is_said_again() -> None:
    seen = set()
    for text in made("DupSent"):
        counted = Counter(s.strip() for s in sentences(text))
        (often,) = [(s, n) for s, n in counted.items() if n > 1]
        assert often[0] in TEXT
        assert 50 <= len(often[0]) <= 300
        assert set(counted) == {s.strip() for s in sentences(TEXT)}
        seen.add(often[1])
    assert seen == {2, 3}
    assert set(made("DupSent", "Short. A longer one")) == {f"Short. {' '.join(['A longer one'] * n)}" for n in (2, 3)}


def test_the_halves_of_a_passage_swap() -> None:
    own = [s.strip() for s in sentences(TEXT)]
    turns = {tuple(s.strip() for s in sentences(t)) for t in made("RevSent")}
    assert turns == {tuple(own[cut:] + own[:cut]) for cut in range(1, len(own))}
    assert set(made("RevSent", "A single sentence stays.")) == {"A single sentence stays."}


def test_words_grow_together() -> None:
    joined = set()
    for text in made("NoSpace", strength=1):
        assert text.replace(" ", "") == TEXT.replace(" ", "")
        for before, after in zip(sentences(TEXT), sentences(text), strict=True):
            joined.add(len(before.split()) - len(after.split()))
    assert joined == {1, 2}


def test_words_give_way_to_synonyms() -> None:
    for text in made("RepSyns"):
        before, after = TEXT.split(), text.split()
        assert len(before) == len(after)
        for old, new in zip(before, after, strict=True):
            bare = re.sub(r"\W", "", old).lower()
            assert new == old or re.sub(r"\W", "", new) in TABLE[bare]
            assert re.sub(r"\w", "", old) == re.sub(r"\w", "", new)  # marks stay
    assert set(made("RepSyns", "Matrix!")) == {"Array!", "Grid!"}
    assert set(made("RepSyns", "Nothing known here.")) == {"Nothing known here."}


def test_marks_are_put_in() -> None:
    for text in made("ExtraPunc", strength=1):
        assert words(text) == words(TEXT)
        assert len(re.sub(r"[\w\s]", "", text)) > len(re.sub(r"[\w\s]", "", TEXT))
    short = set(made("ExtraPunc", "See also solve.", strength=1))
    assert short == {f"{a} See also solve. {b}" for a, b in ('""', "{}", "[]", "()", "``", "''", "<>", "||")}


def test_marks_are_taken_out() -> None:
    assert set(made("NoPunc")) == {" ".join(words(TEXT))}
    assert set(made("NoPunc", "a.b_c, 你好。")) == {"a b c 你好"}
    assert set(made("NoPunc", "...")) == {"..."}


def test_letters_are_mistyped() -> None:
    for text in made("MisSpell", strength=1):
        before, after = TEXT.split(), text.split()
        wrong = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
        assert wrong
        for a, b in wrong:
            assert len(a) == len(b) >= 4
            assert sum(x != y for x, y in zip(a, b, strict=True)) == 1
        for old, new in zip(sentences(TEXT), sentences(text), strict=True):
            assert sum(a != b for a, b in zip(old.split(), new.split(), strict=True)) <= 3
    assert set(made("MisSpell", "It is so.")) == {"It is so."}


def test_random_draws_every_kind_it_has_what_it_needs_for() -> None:
    def kinds(**kept) -> set[str]:
        seen = set()
        for place, text in enumerate(noisy([TEXT] * 400, seed=1, strength=1, **kept)):
            assert text != TEXT, place
            if any(s.strip() in text for o in OTHERS for s in sentences(o)):
                seen.add("NrSent")
            elif SequenceMatcher(None, words(TEXT), words(text)).ratio() == 1:
                seen.add("marks")
            elif "fault" in text or "grid" in text or "row" in text:
                seen.add("RepSyns")
        return seen

    assert kinds(others=OTHERS, synonyms=known) == {"NrSent", "marks", "RepSyns"}
    assert kinds() == {"marks"}


@given(st.text(), st.sampled_from([*NOISES, "random"]), st.floats(0, 1), st.integers(0, 99))
def test_any_text_comes_back_as_a_text(text: str, noise: str, strength: float, seed: int) -> None:
    (out,) = noisy([text], noise, strength=strength, seed=seed, others=OTHERS, synonyms=known)
    assert isinstance(out, str)
    assert bool(out.strip()) >= bool(text.strip())
    assert "".join(sentences(text)) == text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise": "Typos"}, "noise='Typos': allowed are 'random', 'NrSentH'"),
        ({"noise": "MisSpell", "strength": 2}, "strength=2: must lie between 0 and 1"),
        ({"noise": "NrSentM"}, "noise='NrSentM': needs others"),
        ({"noise": "RepSyns"}, "noise='RepSyns': needs synonyms"),
    ],
)
def test_a_wrong_request_is_one_sentence(options, said) -> None:
    with pytest.raises(ValueError, match=said):
        noisy([TEXT], **options)
