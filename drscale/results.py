"""Results that show themselves: a sentence, a table, and both on the last line of a notebook's cell."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

ROWS = 20  # of a table that a notebook shows


def paragraph(words: object) -> str:
    """A sentence as HTML; JupyterLab would take what stands between two dollar signs for a formula.

    >>> from drscale.results import paragraph
    >>> paragraph("$5 buys 2")
    '<p><span>$</span>5 buys 2</p>'
    """
    return f"<p>{html.escape(str(words)).replace('$', '<span>$</span>')}</p>"


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A hint at the known word that is nearest to a wrong one; empty if none is near.

    >>> from drscale.results import did_you_mean
    >>> did_you_mean("Paramters", ["parameters", "pairs"])
    "; did you mean 'parameters'?"
    """
    import difflib

    lower = {str(name).lower(): str(name) for name in reversed(list(known))}
    near = difflib.get_close_matches(str(word).lower(), list(lower), 1, 0.6)
    return f"; did you mean {lower[near[0]]!r}?" if near else ""


class Result:
    """Whatever a verb of drscale hands back: ``str(result)`` is a sentence, ``result.table()`` a DataFrame.

    ``ds.export(result, "result.tex")`` writes the table. A subclass defines ``table``, and ``__str__`` where the
    default, the class's name and the number of rows, says too little. A dataclass that holds much is one with
    ``repr=False``, so that a list of them is a sentence each.
    """

    def table(self) -> pd.DataFrame:
        """The result as a table."""
        raise NotImplementedError(f"{type(self).__name__} has no table")

    def __str__(self) -> str:
        return f"{type(self).__name__}: {len(self.table())} rows"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def _repr_html_(self) -> str:
        rows = self.table()
        more = f"<p>... {len(rows) - ROWS:,} more rows</p>" if len(rows) > ROWS else ""
        shown = rows.head(ROWS).to_html(index=False, float_format="{:.4g}".format, na_rep="")
        return f"{paragraph(self)}{shown}{more}"
