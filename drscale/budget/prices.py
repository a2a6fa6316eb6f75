"""What a pair, a parameter and a document cost, from first principles (Eq. 13 and 14). Never imports torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

from drscale.stats.tables import count_text

SIGNS = "$€£¥₹₩"


@dataclass(frozen=True)
class Prices:
    """The cost of training a retriever and encoding a collection with it, in one currency.

    ``pair`` is the price of an annotated pair, ``gpu_hour`` that of a GPU for an hour; ``peak_flops`` are the GPU's
    FLOP/s, of which the share ``utilisation`` is reached. Training runs ``steps`` steps of ``tokens_per_step`` tokens;
    afterwards ``documents`` documents of ``tokens_per_document`` tokens are encoded once. ``train_flops`` and
    ``encode_flops`` are FLOPs per token and parameter. Encoding queries and keeping an index are not priced.

    >>> import drscale as ds
    >>> prices = ds.Prices(pair=0.6, gpu_hour=3.93, peak_flops=312e12, utilisation=0.25, steps=1e4, tokens_per_step=4e4)
    >>> ds.Prices(pair=-1, gpu_hour=3.93, peak_flops=312e12, utilisation=0.25, steps=1e4, tokens_per_step=4e4)
    Traceback (most recent call last):
        ...
    ValueError: pair=-1: a finite number above zero is needed
    """

    pair: float
    gpu_hour: float
    peak_flops: float
    utilisation: float
    steps: float
    tokens_per_step: float
    documents: float = 0.0
    tokens_per_document: float = 0.0
    train_flops: float = 6.0
    encode_flops: float = 2.0
    currency: str = "$"

    def __post_init__(self) -> None:
        positive = ("pair", "gpu_hour", "peak_flops", "steps", "tokens_per_step", "train_flops", "encode_flops")
        for name in (*positive, "documents", "tokens_per_document", "utilisation"):
            value = getattr(self, name)
            if (
                not isinstance(value, Real)
                or isinstance(value, bool)
                or not math.isfinite(value)
                or value < 0
                or (value == 0 and name in positive)
            ):
                allowed = "above zero" if name in positive else "zero or above"
                if name == "pair" and value == 0:
                    allowed = "above zero, for with free pairs no plan is the best; what storing one costs will do,"
                raise ValueError(f"{name}={value!r}: a finite number {allowed} is needed")
        if not isinstance(self.currency, str) or not self.currency.strip():
            raise ValueError(f"currency={self.currency!r}: a sign or a name is needed, as '$' or 'CHF'")
        if not 0 < self.utilisation <= 1:
            raise ValueError(f"utilisation={self.utilisation!r}: a share above 0 and at most 1 is needed")
        if self.documents and not self.tokens_per_document:
            raise ValueError(f"tokens_per_document=0: {count_text(self.documents)} documents to encode need a length")

    @property
    def per_pair(self) -> float:
        """The price of an annotated pair, Z_data."""
        return self.pair

    @property
    def per_flop(self) -> float:
        """The price of a floating-point operation at the given utilisation."""
        return self.gpu_hour / (3600 * self.peak_flops * self.utilisation)

    @property
    def training(self) -> float:
        """The price of training, per parameter: Z_train."""
        return self.steps * self.tokens_per_step * self.train_flops * self.per_flop

    @property
    def encoding(self) -> float:
        """The price of encoding the whole collection once, per parameter: Z_infer."""
        return self.documents * self.tokens_per_document * self.encode_flops * self.per_flop

    @property
    def per_parameter(self) -> float:
        """Training and encoding together, per parameter."""
        return self.training + self.encoding

    def cost(self, N: Any, D: Any) -> Any:
        """The total cost of N parameters trained on D annotated pairs (Eq. 13)."""
        return self.pair * D + self.per_parameter * N

    def money(self, value: float) -> str:
        """An amount as people write it: $18,000, $37.1M, 0.43 CHF."""
        size = abs(value)
        text = f"{value:,.0f}" if 1000 <= size < 1e7 else count_text(value) if size >= 1e7 else f"{value:.3g}"
        return f"{self.currency}{text}" if self.currency in SIGNS else f"{text} {self.currency}"

    def explain(self) -> str:
        """The arithmetic behind each price, one line each."""
        flop, hour = self.money(self.per_flop), self.money(self.gpu_hour)
        lines = [
            f"a pair:      {self.money(self.pair)}",
            f"a FLOP:      {hour} an hour / (3600 s x {self.peak_flops:.4g} FLOP/s x {self.utilisation:.0%}) = {flop}",
            f"training:    {self.steps:,.0f} steps x {self.tokens_per_step:,.0f} tokens x {self.train_flops:g} FLOPs "
            f"x {flop} = {self.money(self.training)} a parameter",
        ]
        if self.documents:
            lines.append(
                f"encoding:    {count_text(self.documents)} documents x {self.tokens_per_document:g} tokens x "
                f"{self.encode_flops:g} FLOPs x {flop} = {self.money(self.encoding)} a parameter"
            )
        else:
            lines.append("encoding:    no documents, so nothing")
        total = f"{self.money(self.pair)} x D + {self.money(self.per_parameter)} x N"
        return "\n".join([*lines, f"in all:      {total}, for N parameters trained on D pairs"])


def paper_prices(documents: float = 30e12, tokens_per_document: float = 512) -> Prices:
    """The constants of the papers' Eq. 14, from their sources: $0.6, $3.22e-8 and, with encoding, $0.43.

    An A100 at $3.93 an hour reaches a quarter of 312 TFLOP/s; a step is 256 queries of 30 tokens, each with a positive
    and a negative of 60; and the $0.43 are for 30 trillion pages, an estimate of a whole web index. ``documents=0``
    leaves encoding out; ``documents=8_841_823, tokens_per_document=60`` is near MS MARCO's passages.

    >>> import drscale as ds
    >>> ds.paper_prices().pair
    0.6
    """
    return Prices(
        pair=0.6,
        gpu_hour=3.93,
        peak_flops=312e12,
        utilisation=0.25,
        steps=10_000,
        tokens_per_step=256 * (30 + 2 * 60),
        documents=documents,
        tokens_per_document=tokens_per_document,
    )
