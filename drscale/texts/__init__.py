"""Texts: one shape of collection whatever the source, one spelling for every source, and benchmarks that share nothing.

``collection("docs:numpy")`` reads queries, passages and relevance judgements (qrels); ``benchmark("docs")`` splits
several such collections into train, validation, test and the domains outside.
"""

from drscale.texts.cache import CacheWarning, cache_folder
from drscale.texts.collection import Benchmark, Collection
from drscale.texts.near import near_duplicates, normalised, shingled
from drscale.texts.planted import World, oracle
from drscale.texts.sources import Source, benchmark, collection, collections, register_source
from drscale.texts.split import compose, describe, pair_table, related
from drscale.texts.tables import TextsWarning, rows_at

__all__ = [
    "Benchmark",
    "CacheWarning",
    "Collection",
    "Source",
    "TextsWarning",
    "World",
    "benchmark",
    "cache_folder",
    "collection",
    "collections",
    "compose",
    "describe",
    "near_duplicates",
    "normalised",
    "oracle",
    "pair_table",
    "register_source",
    "related",
    "rows_at",
    "shingled",
]
