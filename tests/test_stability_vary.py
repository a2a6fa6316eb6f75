import random
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drscale.attacks.substitutes import WORD, Given
from drscale.stability import paraphrase
from drscale.stability.vary import (
    FAMILIES,
    FUNCTION_WORDS,
    HAN_TYPOS,
    NEGATIONS,
    TYPOS,
    families,
    typo,
    variations,
)

WORDS = ["compute", "the", "mean", "of", "a", "sparse", "matrix", "not", "if", "key", "is", "Return", "read_csv", "x1,"]
TABLE = Given({"compute": ["calculate", "reckon"], "mean": ["average"], "matrix": ["array", "grid"], "key": ["token"]})
texts_of = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
SOME = [
    "Compute the mean of a matrix.",
    "return the key if it is not sparse",
    "Sort rows using the last key.",
    "a",
    "of the",
]
NAMES = ("misspelling", "naturality", "ordering", "synonym", "paraphrase")


def vary(queries, family, **options):
    return variations(queries, family, **({"synonyms": TABLE} | options))


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25)
@given(st.lists(texts_of, max_size=5), st.integers(0, 99))
def test_strength_nought_is_the_identity(family, queries, seed):
    frame = vary(queries, family, strength=0, seed=seed)
    assert list(frame["varied"]) == queries
    assert not frame["changed"].any()


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25)
@given(st.lists(texts_of, min_size=1, max_size=6), st.integers(0, 99), st.randoms(), st.floats(0, 1))
def test_a_text_alone_and_the_seed_decide(family, queries, seed, rng, strength):
    once = vary(queries, family, seed=seed, strength=strength)
    order = list(range(len(queries)))
    rng.shuffle(order)
    again = vary([queries[i] for i in order], family, seed=seed, strength=strength)
    assert [once["varied"][i] for i in order] == list(again["varied"])
    assert [once["method"][i] for i in order] == list(again["method"])
    assert (once["changed"] == (once["varied"] != once["original"])).all()


def test_seeds_differ():
    for family in ("misspelling", "ordering", "synonym", "paraphrase"):
        assert len({vary(SOME[:1], family, seed=seed)["varied"][0] for seed in range(8)}) > 1


@settings(max_examples=25)
@given(texts_of, st.sampled_from(TYPOS), st.floats(0.01, 1), st.integers(0, 99))
def test_misspelling_touches_its_share_of_the_words_and_nothing_else(text, method, strength, seed):
    made = vary([text], "misspelling", method=method, strength=strength, seed=seed)["varied"][0]
    old, new = text.split(" "), made.split(" ")
    assert len(old) == len(new)
    fit = [w for w in old if len(w) > 2 and WORD.fullmatch(w) and w.lower() not in FUNCTION_WORDS]
    touched = [o for o, n in zip(old, new, strict=True) if o != n]
    assert len(touched) == int(np.ceil(strength * len(fit)))
    assert Counter(touched) <= Counter(fit)


@settings(max_examples=25)
@given(st.text("abcdefghij", min_size=3, max_size=12), st.sampled_from(TYPOS), st.integers(0, 999))
def test_a_slip_is_one_slip(word, method, seed):
    made = typo(word, method, random.Random(seed))
    if method == "swap":
        assert sorted(made) == sorted(word)
        assert (made == word) == (len(set(word)) == 1)
        assert sum(a != b for a, b in zip(made, word, strict=True)) in (0, 2)
    else:
        assert len(made) - len(word) == {"delete": -1, "insert": 1}.get(method, 0)
        assert made != word
    if method in ("random", "qwerty"):
        assert sum(a != b for a, b in zip(made, word, strict=True)) == 1


def test_a_key_beside_the_right_one():
    beside = {typo("s", "qwerty", random.Random(seed)) for seed in range(50)}
    assert beside == {"a", "d"}
    assert typo("S", "qwerty", random.Random(1)) in "AD"
    assert typo("é", "qwerty", random.Random(1)).isascii()  # not on the keyboard: any letter


@settings(max_examples=25)
@given(texts_of, st.integers(0, 99))
def test_a_larger_strength_only_adds(text, seed):
    before = [False] * len(text.split(" "))
    for strength in (0.2, 0.5, 1.0):
        made = vary([text], "misspelling", method="delete", strength=strength, seed=seed)["varied"][0]
        now = [o != n for o, n in zip(text.split(" "), made.split(" "), strict=True)]
        assert all(n or not b for b, n in zip(before, now, strict=True))
        before = now


@settings(max_examples=25)
@given(texts_of, st.floats(0, 1), st.integers(0, 99))
def test_ordering_keeps_the_words(text, strength, seed):
    made = vary([text], "ordering", strength=strength, seed=seed)["varied"][0]
    assert Counter(made.split()) == Counter(text.split())
    words = text.split()
    if strength > 0 and len(set(words)) == len(words) > 1:
        moved = sum(a != b for a, b in zip(made.split(), words, strict=True))
        assert moved == max(2, int(np.ceil(strength * len(words))))


@settings(max_examples=25)
@given(texts_of, st.integers(0, 99))
def test_naturality_takes_stop_words_and_only_those(text, seed):
    made = vary([text], "naturality", seed=seed)["varied"][0]
    gone = Counter(text.split()) - Counter(made.split())
    assert made.strip()
    assert not Counter(made.split()) - Counter(text.split())
    assert all(w.lower() in FUNCTION_WORDS and w.lower() not in NEGATIONS for w in gone)
    if gone:
        assert all(w.lower() not in FUNCTION_WORDS or w.lower() in NEGATIONS for w in made.split())


def test_naturality_reads_like_keywords_and_never_takes_a_not():
    frame = vary(SOME, "naturality")
    assert list(frame["varied"][:2]) == ["Compute mean matrix.", "return key not sparse"]
    assert list(frame["varied"][3:]) == ["a", "of the"]


@settings(max_examples=25)
@given(texts_of, st.integers(0, 99))
def test_synonyms_come_from_the_source(text, seed):
    made = vary([text], "synonym", strength=1.0, seed=seed)["varied"][0]
    for old, new in zip(text.split(), made.split(), strict=True):
        assert new == old or new in TABLE.table[old]
        assert (new == old) == (old not in TABLE.table)


def test_a_floor_keeps_out_what_is_not_similar():
    def length(texts):  # alike is what is as long
        return np.array([[np.cos(len(t)), np.sin(len(t))] for t in texts])

    queries = ["mean key", "compute key", "compute mean"]
    free = vary(queries, "synonym", strength=1.0, similarity=length, floor=-1)
    kept = vary(queries, "synonym", strength=1.0, similarity=length, floor=0.999)
    assert free["changed"].all()
    assert (kept["similarity"] >= 0.999).all()
    assert kept["changed"].sum() < 3
    assert (kept.loc[~kept["changed"], "varied"] == kept.loc[~kept["changed"], "original"]).all()
    assert (kept.loc[~kept["changed"], "method"] == "").all()
    assert "floor 0.999" in kept.attrs["note"]
    assert vary(queries, "synonym")["similarity"].isna().all()


def test_minilm_judges_and_the_floor_is_usual_for_synonyms_and_paraphrases():
    table = Given({"mean": ["dog"]})
    frame = variations(["mean", "return the mean of the values"], "synonym", synonyms=table, similarity="minilm")
    assert not frame["changed"][0]
    assert "floor 0.7" in frame.attrs["note"]
    assert "floor None" in variations(["mean"], "ordering", similarity="minilm").attrs["note"]


# --------------------------------------------------------------------------------------------------------- paraphrase


def test_rules_say_what_they_are_and_keep_the_words_that_count():
    frame = vary(SOME[:3], "paraphrase")
    assert "by plain rules" in frame.attrs["note"]
    assert frame["method"].str.startswith("rules:").all()
    assert "matrix" in frame["varied"][0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "Compute the mean.",
            {
                "how_to": "how to compute the mean",
                "gerund": "computing the mean",
                "person": "computes the mean",
                "function": "function that computes the mean",
            },
        ),
        ("Tries a key.", {"person": "try a key", "gerund": "trying a key", "how_to": "how to try a key"}),
        ("Set a key", {"gerund": "setting a key", "person": "sets a key"}),
        ("Sort rows using a key.", {"clause": "Using a key, sort rows."}),
        ("Return True if empty.", {"phrase": "Check whether empty."}),
        ("A list of keys", {"looking_for": "looking for a list of keys"}),
        ("What is a key?", {"phrase": "What's a key?"}),
        ("Finalizes the key", {}),
        ("key", {}),
    ],
)
def test_rules(text, wanted):
    found = {paraphrase.rules(text, random.Random(seed)) for seed in range(60)}
    made = {name.removeprefix("rules:"): said for said, name in found}
    assert {k: made.get(k) for k in wanted} == wanted
    if not wanted:
        assert made == {"": text}


@settings(max_examples=25)
@given(st.text(max_size=60), st.integers(0, 99))
def test_rules_take_any_text(text, seed):
    made, name = paraphrase.rules(text, random.Random(seed))
    assert (made == text) == (name == "")


def test_verbs_have_their_forms():
    for verb in paraphrase.VERBS:
        assert paraphrase.base_form(paraphrase.third_person(verb)) == verb
    assert [paraphrase.gerund(v) for v in ("make", "put", "format", "apply")] == [
        "making",
        "putting",
        "formatting",
        "applying",
    ]


def test_a_function_paraphrases_each_text_once():
    calls = []

    def shout(texts, seed):
        calls.append(texts)
        return [f"{t} {seed}" for t in texts]

    frame = vary(["a b", "c", "a b"], "paraphrase", method=shout, seed=4)
    assert list(frame["varied"]) == ["a b 4", "c 4", "a b 4"]
    assert calls == [["a b", "c"]]
    assert set(frame["method"]) == {"function"}
    with pytest.raises(ValueError, match="gave 1 answers for 2"):
        vary(["a", "b"], "paraphrase", method=lambda texts, seed: ["x"])


def test_a_seq2seq_model_writes_the_same_again(tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration

    from drscale.encoder import learn_vocabulary

    tokenizer = learn_vocabulary([*SOME, "paraphrase: "], 300)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    write = paraphrase.hub(str(tmp_path), tokens=6)
    assert write(SOME[:2], 1) == write(SOME[:2], 1)
    assert write(SOME[1:2], 1)[0] == write(SOME[:2], 1)[1]
    frame = vary(SOME[:2], "paraphrase", method=f"hub:{tmp_path}")
    assert frame.attrs["note"].startswith(f"hub:{tmp_path}")


def test_a_model_without_safetensors_is_refused_unless_asked_for(tmp_path, monkeypatch):
    from transformers import T5Config, T5ForConditionalGeneration

    from drscale.encoder import WEIGHTS, learn_vocabulary

    tokenizer = learn_vocabulary([*SOME, "paraphrase: "], 300)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **sizes))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    tokenizer.save_pretrained(tmp_path)
    monkeypatch.delenv(WEIGHTS, raising=False)
    with pytest.raises(ValueError, match=rf"no file of safetensors; {WEIGHTS}=torch .*; 'rules' needs none$") as said:
        vary(SOME[:2], "paraphrase", method=f"hub:{tmp_path}")
    assert "\n" not in str(said.value)
    monkeypatch.setenv(WEIGHTS, "torch")
    assert len(paraphrase.hub(str(tmp_path), tokens=6)(SOME[:2], 1)) == 2


class Phrasebook:
    """A tokenizer and a model in one that know a dozen words of two languages, and which they speak."""

    words: ClassVar = ["en", "de", "big", "gross", "house", "Haus", "large"]
    pairs: ClassVar = {
        ("en", "de"): {"big": "gross", "house": "Haus"},
        ("de", "en"): {"gross": "large", "Haus": "house"},
    }
    device = "cpu"
    src_lang = ""

    def get_lang_id(self, language):
        return {"en": 0, "de": 1}[language]

    def __call__(self, text, **options):
        return {"input_ids": torch.tensor([[self.words.index(w) for w in text.split()]])}

    def generate(self, input_ids, forced_bos_token_id, **options):
        known = self.pairs[self.src_lang, self.words[forced_bos_token_id]]
        return torch.tensor([[self.words.index(known[self.words[i]]) for i in input_ids[0]]])

    def decode(self, ids, skip_special_tokens):
        return " ".join(self.words[i] for i in ids)


def test_back_translation_goes_there_and_back(monkeypatch):
    book = Phrasebook()
    monkeypatch.setattr(paraphrase, "_seq2seq", lambda name: (book, book))
    frame = vary(["big house"], "paraphrase", method="back:a/model")
    assert frame.loc[0, ["varied", "method"]].tolist() == ["large house", "back:a/model"]
    with pytest.raises(ValueError, match="no language 'xx'"):
        paraphrase.back("a/model", pivot="xx")
    monkeypatch.setattr(paraphrase, "_seq2seq", lambda name: (object(), None))
    with pytest.raises(ValueError, match="'back:a/model': its tokenizer names no languages"):
        paraphrase.back("a/model")
    with pytest.raises(ValueError, match="a model's name is missing"):
        vary(SOME, "paraphrase", method="back:")
    with pytest.raises(ValueError, match="needs method='hub:ID' or a function"):
        vary(["计算平均值"], "paraphrase", method="back:a/model")  # it would be read as English


# ------------------------------------------------------------------------------------------------------------ Chinese


@settings(max_examples=25)
@given(st.text("计算矩阵的平均值", min_size=2, max_size=12), st.sampled_from([None, *HAN_TYPOS]), st.floats(0.01, 1))
def test_chinese_gets_slips_of_characters(text, method, strength):
    made = vary([text], "misspelling", method=method, strength=strength)["varied"][0]
    pairs = int(np.ceil(strength * (len(text) // 2)))
    if method == "swap":
        assert sorted(made) == sorted(text)
    if method == "delete":
        assert len(made) == len(text) - pairs
    assert not Counter(made) - Counter(text)


@pytest.mark.parametrize("family", ["naturality", "ordering", "synonym", "paraphrase"])
def test_chinese_is_refused_where_words_need_spaces(family):
    with pytest.raises(ValueError, match=f"family='{family}': needs spaces between words, and '计算矩阵' has none"):
        vary(["the mean", "计算矩阵"], family)
    assert not vary(["计算矩阵"], family, strength=0)["changed"].any()


@pytest.mark.parametrize("text", ["เปิดไฟล์", "ເປີດໄຟລ໌", "បើកឯកសារ", "ဖိုင်ဖွင့်"])
def test_thai_and_its_neighbours_are_refused(text):
    for family in NAMES:
        with pytest.raises(ValueError, match=f"family='{family}': needs spaces between words, and '{text[:3]}"):
            vary([text], family)
    assert vary([text], "paraphrase", method=lambda texts, seed: ["x"] * len(texts))["varied"][0] == "x"


def test_rare_characters_are_chinese_too():
    assert vary(["𠀀𠀁"], "misspelling", method="swap")["varied"][0] == "𠀁𠀀"
    with pytest.raises(ValueError, match="needs spaces between words"):
        vary(["𠀀𠀁"], "ordering")


def test_a_model_may_paraphrase_chinese():
    assert vary(["计算"], "paraphrase", method=lambda texts, seed: ["求和"] * len(texts))["varied"][0] == "求和"
    with pytest.raises(ValueError, match=r"qwerty.*swap, delete"):
        vary(["计算"], "misspelling", method="qwerty")


# ----------------------------------------------------------------------------------------------------------- the door


def test_families_are_functions_of_texts_and_a_seed():
    made = families(synonyms=TABLE, strength={"misspelling": 1.0})
    assert tuple(made) == NAMES
    for name, function in made.items():
        wanted = vary(SOME, name, seed=3, strength=1.0 if name == "misspelling" else None)
        assert function(SOME, 3) == list(wanted["varied"])
    assert tuple(families(["ordering"])) == ("ordering",)


def test_ids_are_kept():
    frame = vary({"q7": "compute the mean", "q8": "the key"}, "ordering")
    assert list(frame["query"]) == ["q7", "q8"]
    assert list(frame) == ["query", "original", "varied", "family", "method", "changed", "similarity"]
    assert vary([], "ordering").empty


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: vary(SOME, "spelling"), "family='spelling'.*misspelling, naturality"),
        (lambda: vary(SOME, "ordering", strength=1.5), "strength=1.5.*0 and 1"),
        (lambda: vary(SOME, "misspelling", method="shuffle"), "shuffle.*swap, random, qwerty"),
        (lambda: vary(SOME, "ordering", method="swap"), "swap.*of ordering, allowed are none"),
        (lambda: vary(SOME, "paraphrase", method="t5"), "t5.*'hub:ID'"),
        (lambda: vary(SOME, "paraphrase", method="hub:"), "a model's name is missing"),
        (
            lambda: vary(SOME, "paraphrase", method="hub:nobody/nothing"),
            "nobody/nothing.*HF_HUB_OFFLINE is set, .*'rules' needs none",
        ),
        (lambda: vary(SOME, "synonym", floor=0.5), "floor=0.5.*together with similarity"),
        (lambda: vary(SOME, "synonym", synonyms="thesaurus"), "thesaurus"),
        (lambda: families(["typos"]), "'typos', allowed are misspelling"),
    ],
)
def test_mistakes_are_said(act, said):
    with pytest.raises(ValueError, match=said):
        act()
