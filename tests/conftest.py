"""What all tests share: no network, a cache of their own, and in CI no silent skip."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from drscale.plotting.files import browser

ROOT = Path(__file__).resolve().parent.parent
# Code for a fresh interpreter that shall find nothing of the torch side.
NO_TORCH = """
from importlib.machinery import PathFinder
found = PathFinder.find_spec
gone = {"torch", "transformers", "datasets", "accelerate", "faiss", "tokenizers", "sentence_transformers"}
def without(name, *rest):
    return None if name.partition(".")[0] in gone else found(name, *rest)
PathFinder.find_spec = staticmethod(without)
"""
CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")

# Before anything imports a hub client: what a test needs is installed or made, never fetched.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# The user's own cache stays as it is; ours lives with the other build products.
os.environ.setdefault("DRSCALE_CACHE", str(ROOT / "build" / "cache"))

# Plotly imports nbformat, and that jsonschema, which parses a grammar of addresses for seconds when it is imported; no
# notebook and no figure has an address to check.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# The test files that take longest, cold, longest first: they start first, so that the two workers end together. The
# others keep their order behind them.
START_FIRST = (
    "instructions",
    "sweep",
    "sweep_clusters",
    "training_strategies",
    "training_processes",
    "cli",
    "browser",
    "readme",
    "wheel",
    "training",
    "models",
    "laws_joint",
    "mixed",
    "evaluate_retrievers",
    "labels_teachers",
    "poisoning",
    "commands",
    "notebooks",
    "texts_docs",
    "sweep_scripts",
    "hostile",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first; a file's own tests keep their order."""
    places = {name: place for place, name in enumerate(START_FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem.removeprefix("test_"), len(places)))


# The same examples every time, unless HYPOTHESIS_PROFILE=random (or --hypothesis-profile=random) asks for new ones.
settings.register_profile("drscale", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None, derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "drscale"))


def _reason(longrepr: object) -> str:
    return str(longrepr[2] if isinstance(longrepr, tuple) else longrepr)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Turn a skip into a failure in CI: what cannot run there was never checked."""
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"a skip is a failure in CI: {_reason(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """The same for a module that skips itself while it is collected."""
    report = yield
    if CI and report.skipped:
        report.outcome, report.longrepr = "failed", f"a skip is a failure in CI: {_reason(report.longrepr)}"
    return report


@pytest.fixture(scope="session")
def chromium() -> str:
    """The Chromium that browser tests drive."""
    path = browser()
    if path is None:
        pytest.skip("no Chromium or Chrome on this machine (apt-get install chromium, or set BROWSER_PATH)")
    return path


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Random models of one layer, saved as sentence-transformers reads them."""
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertForSequenceClassification

    from drscale.encoder import minilm_folder

    folder = tmp_path_factory.mktemp("models")
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(**shape, max_position_embeddings=64, num_labels=1)
    for name, kind in (("sparse", BertForMaskedLM), ("cross", BertForSequenceClassification)):
        kind(config).save_pretrained(folder / name)
        AutoTokenizer.from_pretrained(str(minilm_folder())).save_pretrained(folder / name)
    return {name: str(folder / name) for name in ("sparse", "cross")}
