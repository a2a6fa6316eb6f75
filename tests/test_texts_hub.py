"""The hub as a server speaks it: read once over the network, then without one; and each failure says the way out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, CONVERTED, hub_at
from test_texts_layouts import asked, docs, judged, repository

from drscale.texts import CacheWarning, collection
from drscale.texts.hub import _sentence

CODE = """
import json, os, sys
from drscale.texts import collection
for spec in json.loads(sys.argv[1]):
    if spec.startswith("/"):  # from here on this cache of ours, and none of the hub's
        import datasets
        os.environ["DRSCALE_CACHE"] = spec
        datasets.config.HF_DATASETS_CACHE /= "none"
        print(json.dumps(None))
        continue
    try:
        found = collection(spec, progress=False)
        said = found.fingerprint
        print(json.dumps([spec + " of", found.versions.get(spec.partition("?")[0])]))
    except ValueError as e:
        said = str(e)
    print(json.dumps([spec, said]), flush=True)
"""
READ = {
    "hub:mteb/scifact": "BEIR's parts in three configurations",
    f"hub:mteb/scifact?revision={COMMIT}": "of a commit",
    "hub:C-MTEB/Cmedqa?language=zh&split=dev": "splits, and judgements in another repository",
    "hub:sentence-transformers/nq": "a table of pairs",
    "hub:mteb/script?revision=refs/convert/parquet": "the hub's own copy of a data set that has a script",
}
REFUSED = {
    "hub:nobody/nothing": "doesn't exist on the Hub or cannot be accessed); see whether the id is right; a private one",
    "hub:gated/trec": "accept its terms at https://huggingface.co/datasets/gated/trec and log in with hf auth login",
    "hub:mteb/scifact?revision=v9": "Revision 'v9' doesn't exist for dataset 'mteb/scifact' on the Hub); see",
    "hub:THUIR/T2Ranking": "code of a data set is never run: try revision=refs/convert/parquet, a copy, or its files",
    "hub:sentence-transformers/several": "are pair, triplet; name one: hub:sentence-transformers/several?config=pair",
    "hub:mteb/languages": "the configurations are en-corpus, en-queries; name one: hub:mteb/languages?config=en",
    "hub:sentence-transformers/odd": "no column of the query (query, anchor, question, query_positive); there is one",
}
NOT_CACHED = "HF_HUB_OFFLINE is set, and it is not in the cache: load it once with a network and the same HF_HOME"


def made(root: Path) -> Path:
    """The repositories that the server has."""
    parts = {"default": judged(), "corpus": docs(), "queries": asked()}
    repository(root / "mteb" / "scifact", {config: {"test": rows} for config, rows in parts.items()})
    repository(root / "C-MTEB" / "Cmedqa", {"default": {"corpus": docs("id"), "queries": asked("id")}})
    repository(root / "C-MTEB" / "Cmedqa-qrels", {"default": {"dev": judged(), "test": judged()[:1]}})
    rows = [{"query": f"ask {i}", "answer": f"tell {i}"} for i in range(5)]
    repository(root / "sentence-transformers" / "nq", {"default": {"train": rows}})
    repository(root / "sentence-transformers" / "several", {"pair": {"train": rows}, "triplet": {"train": rows}})
    repository(root / "sentence-transformers" / "odd", {"default": {"train": [{"one": "a", "two": "b"}]}})
    repository(root / "mteb" / "languages", {"en-corpus": {"dev": docs()}, "en-queries": {"dev": asked()}})
    for config, rows in parts.items():
        repository(root / "mteb" / "script@parquet", {config: {"test": rows}})
    (root / "mteb" / "script@parquet" / "README.md").unlink()
    (root / "mteb" / "script").mkdir()
    (root / "mteb" / "script" / "script.py").write_text("raise SystemExit('run')")
    (root / "THUIR" / "T2Ranking").mkdir(parents=True)
    (root / "THUIR" / "T2Ranking" / "T2Ranking.py").write_text("raise SystemExit('run')")
    return root


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What each spelling gave in an interpreter with the network, and what in one without it."""
    root, home = made(tmp_path_factory.mktemp("hub")), tmp_path_factory.mktemp("home")
    usual = {**os.environ, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    usual["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))

    def asked_of(specs: list[str], **changes: str) -> list[dict[str, str]]:
        command = [sys.executable, "-c", CODE, json.dumps(specs)]
        done = subprocess.run(command, env=usual | changes, capture_output=True, text=True, check=True, timeout=100)
        return [dict(map(json.loads, part.splitlines())) for part in done.stdout.split("null\n")]

    cache, other = str(home / "first"), str(home / "second")
    with hub_at(root) as address:
        online = asked_of([*READ, *REFUSED], HF_ENDPOINT=address, HF_HUB_OFFLINE="0", DRSCALE_CACHE=cache)
    gone = ["hub:nobody/nothing", f"hub:mteb/scifact?revision={'f' * 40}"]
    alone = asked_of([*READ, *gone, cache, *READ], HF_ENDPOINT=address, HF_HUB_OFFLINE="1", DRSCALE_CACHE=other)
    return {"online": online[0], "offline": alone[0], "kept": alone[1]}


@pytest.mark.parametrize("spec", READ)
def test_what_was_read_over_the_network_is_read_without_it(answers: dict[str, dict[str, str]], spec: str) -> None:
    fingerprint = answers["online"][spec]
    assert len(fingerprint) == 64, fingerprint
    assert "mteb/" not in spec or fingerprint == answers["online"]["hub:mteb/scifact"]
    if "convert" in spec:  # datasets does not find this in its own cache
        assert answers["offline"][spec].endswith("load it once with a network and the same DRSCALE_CACHE")
    else:
        assert answers["offline"][spec] == fingerprint  # from the cache of datasets
    assert answers["kept"][spec] == fingerprint  # from ours alone
    commit = min(CONVERTED) if "convert" in spec else COMMIT
    assert commit in answers["online"][f"{spec} of"]
    assert answers["kept"][f"{spec} of"] == answers["online"][f"{spec} of"]


@pytest.mark.parametrize(("spec", "message"), REFUSED.items())
def test_a_failure_of_the_hub_is_one_sentence_with_the_way_out(
    answers: dict[str, dict[str, str]], spec: str, message: str
) -> None:
    assert message in answers["online"][spec]
    assert "\n" not in answers["online"][spec]


def test_what_is_not_in_the_cache_is_said_so(answers: dict[str, dict[str, str]]) -> None:
    assert answers["offline"]["hub:nobody/nothing"].endswith(NOT_CACHED)
    other = answers["offline"][f"hub:mteb/scifact?revision={'f' * 40}"]
    assert other.endswith("is not in the cache, another one is; load it once with a network")


def test_whatever_the_clients_raise_becomes_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)

    def broken(*arguments: Any, **named: Any) -> None:
        raise datasets.exceptions.DatasetGenerationError("An error occurred\nwhile generating")

    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path / "cache"))
    repository(tmp_path / "pairs", {"default": {"train": [{"query": "ask", "answer": "tell"}]}})
    before = collection(f"hub:{tmp_path / 'pairs'}", progress=False)
    monkeypatch.setattr(datasets, "load_dataset", broken)
    with pytest.warns(CacheWarning, match=r"cannot be loaded \(An error occurred\).*; what was read before is used"):
        assert collection(f"hub:{tmp_path / 'pairs'}", progress=False).fingerprint == before.fingerprint
    with pytest.raises(
        ValueError, match=r"^hub:a/b: cannot be loaded \(An error occurred\); see https://hugg"
    ) as caught:
        collection("hub:a/b")
    assert "\n" not in str(caught.value)
    assert "without a network, load it once elsewhere" in _sentence("a/b", "", ConnectionError("Couldn't reach 'a/b'"))
    assert _sentence("a/b", "v1", OSError()).endswith("(OSError); see https://huggingface.co/datasets/a/b at v1")


ENGLISH = """
import json
from drscale.texts import benchmark
b = benchmark("english?ood=scifact&validation_pairs=30", progress=False)
ids = {name: sorted(part.queries["id"].to_pylist()) for name, part in b.parts().items()}
print(json.dumps(ids))
"""


def msmarco(root: Path, dev: str) -> None:
    """MS MARCO as the hub has it, small: judgements to train, to develop and of TREC's track, texts for all of them."""
    ranges = {"train": range(330), dev: range(330, 630), "test": range(630, 640)}
    texts = [{"_id": str(i), "title": "", "text": " ".join(f"w{i}x{k}" for k in range(6))} for i in range(640)]
    asks = [{"_id": str(i), "text": f"what is w{i}x1"} for i in range(640)]
    rows = {
        split: [{"query-id": str(i), "corpus-id": str(i), "score": 1} for i in own] for split, own in ranges.items()
    }
    parts = {"default": rows, "corpus": {"corpus": texts}, "queries": {"queries": asks}}
    repository(root / "mteb" / "msmarco", parts)


@pytest.mark.parametrize("dev", ["dev", "validation"])
def test_english_measures_on_msmarcos_dev_whatever_it_is_called_and_validates_on_training_pairs(
    tmp_path: Path, dev: str
) -> None:
    root = made(tmp_path / "hub")
    msmarco(root, dev)
    usual = {**os.environ, "HF_HOME": str(tmp_path), "DRSCALE_CACHE": str(tmp_path / "cache"), "NO_PROXY": "127.0.0.1"}
    usual |= {"HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with hub_at(root) as address:
        usual |= {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", ENGLISH]
        done = subprocess.run(command, env=usual, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    ids = {name: {int(i) for i in own if i.isdigit()} for name, own in json.loads(done.stdout).items()}
    assert ids["test"] == set(range(330, 630))
    assert len(ids["validation"]) == 30
    assert ids["train"] | ids["validation"] == set(range(330))
    assert not ids["train"] & ids["validation"]
