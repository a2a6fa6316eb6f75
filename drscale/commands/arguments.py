"""The arguments of every verb, and errors of one sentence that name the nearest word. Loads nothing but argparse."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from drscale.results import did_you_mean

# The names of drscale.laws.LAWS, which is too slow to load for a list of words (tested to be the same).
LAWS = ("size_law", "data_law", "joint_law", "additive_law", "broken_law")
SPACES = ("relative", "linear", "log")
SHELLS = ("bash", "zsh", "fish")
TRACKERS = ("trackio",)
SUFFIXES = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}  # what may stand behind a number
# An option of `allocate` and the field of drscale.Prices that it fills.
PRICES = {
    "pair_price": ("pair", "price of an annotated pair"),
    "gpu_hour": ("gpu_hour", "price of a GPU for an hour"),
    "peak_flops": ("peak_flops", "the GPU's peak, in FLOP/s"),
    "utilisation": ("utilisation", "share of the peak that is reached"),
    "steps": ("steps", "training steps"),
    "tokens_per_step": ("tokens_per_step", "tokens in a step"),
    "documents": ("documents", "documents to encode after training (default 0)"),
    "tokens_per_document": ("tokens_per_document", "tokens in a document"),
}
EPILOG = """exit status:
  0    all well
  1    a run failed, or no law or plan is possible with these runs
  2    a mistake in the command or in a file; one sentence on the standard error says which
  130  interrupted

Results go to the standard output; progress, warnings and errors to the standard error. With --json the
standard output holds one JSON document and nothing else. drscale COMMAND --help explains a command."""
TABLE = "a table of runs (.csv, .tsv, .parquet, .jsonl; - reads a CSV from the standard input)"
RUNS = f"{TABLE}, a folder of run records, or a study"


class UserError(Exception):
    """A mistake of the caller's, told in one sentence."""


class Impossible(Exception):
    """The runs allow no law or no plan; told in one sentence."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, with the nearest word that is allowed."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line and leave with status 2."""
        message = re.sub(r"^argument COMMAND: ", "", message)
        choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)$", message)
        if choice is not None:
            known = [word.strip("'") for word in choice[2].split(", ")]
            near = did_you_mean(choice[1], known)
            allowed = f"{near} Allowed are" if near else "; allowed are"
            message = f"{message[: choice.end(1) + 1]}{allowed} {', '.join(known)}"
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help explains)\n")


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    """The long options of a parser."""
    return [s for action in parser._actions for s in action.option_strings if s.startswith("--")]


def parse(parser: Parser, verbs: dict[str, Parser], argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command; an unknown option is an error of its verb, with the nearest option."""
    arguments, rest = parser.parse_known_args(_runs_first(list(sys.argv[1:] if argv is None else argv)))
    if rest:
        verb = verbs[arguments.name]
        word = next((w for w in rest if w.startswith("-") and w != "-"), rest[0])
        hint = did_you_mean(word.partition("=")[0], options_of(verb)) if word.startswith("-") else ""
        if word in options_of(verb):  # it stands before the verb
            hint = f"; options stand behind the command: drscale {arguments.name} ... {word}"
        verb.error(f"unrecognized argument {word!r}{hint}")
    return arguments


def _runs_first(words: list[str]) -> list[str]:
    """Put files that follow the measures of --measures before it, where they are runs."""
    if "--measures" not in words:
        return words
    at = words.index("--measures")
    end = next((i for i in range(at + 1, len(words)) if words[i].startswith("-")), len(words))
    runs = [w for w in words[at + 1 : end] if re.match(r"[^()]+=", w) or Path(w).is_file()]
    return words[:at] + runs + [w for w in words[at:end] if w not in runs] + words[end:]


def as_json(p: argparse.ArgumentParser) -> None:
    """Add --json."""
    p.add_argument("--json", action="store_true", help="print one JSON document to the standard output, nothing else")


def both_ways(p: argparse.ArgumentParser) -> None:
    """Add what every reading verb takes: --json and --quiet."""
    as_json(p)
    p.add_argument("--quiet", action="store_true", help="print no warnings and no progress")


def add_verbs(verb: Callable[[str, str], Parser]) -> None:
    """Declare the analyst's verbs; ``verb(name, help)`` makes a parser."""
    _fit(verb("fit", "fit a law to a table of runs: parameters with intervals, and every reason for doubt"))
    _allocate(verb("allocate", "split a budget between model size and training pairs"))
    _compare(verb("compare", "compare TREC runs on the same queries: means, differences, p-values"))
    _stability(verb("stability", "measure how much a retriever loses when its queries are put in other words"))
    p = verb("export", "write a table of runs in another format")
    p.add_argument("runs", metavar="RUNS", help=RUNS)
    p.add_argument("--to", type=Path, metavar="FILE", help="where to: .csv, .tsv, .parquet, .jsonl or .tex")
    p.add_argument("--columns", metavar="A,B", help="keep these columns, in this order")
    _where(p)
    _signs(p)
    both_ways(p)
    p = verb("app", "serve the explorers of laws, budgets and fronts as pages in a browser")
    p.add_argument("--ip", default="localhost", help="the address to listen at; 0.0.0.0 for every machine")
    p.add_argument("--port", type=int, help="the port to listen at (default 8866, or the next one that is free)")
    p.add_argument("--no-browser", action="store_true", help="open no browser, and only print the address")
    p = verb("completion", "print a script that completes the commands in a shell")
    p.add_argument("shell", choices=SHELLS, help="the shell")


def _where(p: argparse.ArgumentParser) -> None:
    words = "keep the rows of which this is true, as 'pairs == 0'; a name that is no word stands in backticks"
    p.add_argument("--where", metavar="QUERY", help=words)


def _signs(p: argparse.ArgumentParser) -> None:
    p.add_argument("--sep", metavar="SIGN", help="what separates the columns of a CSV (default: found out)")
    p.add_argument("--thousands", metavar="SIGN", help="what separates thousands, as . in 24.000 (default: nothing)")
    p.add_argument("--decimal", metavar="SIGN", help="what stands before decimals, . or , (default: found out)")


def _law_of(p: argparse.ArgumentParser) -> None:
    p.add_argument("runs", metavar="RUNS", help=RUNS)
    p.add_argument(
        "--x",
        action="append",
        metavar="COLUMN[,COLUMN]",
        help="the columns of size and pairs, one or both; N=COLUMN and D=COLUMN say which is which "
        "(default: by their usual names, as parameters and pairs)",
    )
    p.add_argument("--y", metavar="COLUMN", help="the column of the loss (default: by its usual name, as loss)")
    p.add_argument("--law", choices=LAWS, metavar="LAW", help=f"{', '.join(LAWS)} (default: chosen by comparison)")
    p.add_argument("--level", type=_level, default=0.95, help="confidence of the intervals (default 0.95)")
    p.add_argument(
        "--space", choices=SPACES, default="relative", help="where residuals are squared (default: shares of y)"
    )
    p.add_argument("--robust", action="store_true", help="let single outlying runs pull less")
    _where(p)
    _signs(p)
    p.add_argument(
        "--out",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="write the numbers (.tex, .csv) or the figure (.pdf, .svg, .png, .html); may be repeated",
    )
    both_ways(p)


def _fit(p: argparse.ArgumentParser) -> None:
    _law_of(p)
    p.add_argument("--by", metavar="COLUMN", help="fit the law once for each value of this column, as strategy")


def _allocate(p: argparse.ArgumentParser) -> None:
    _law_of(p)
    wanted = p.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--budget", type=_amount, metavar="MONEY", help="what may be spent, as 5000 or 5K")
    wanted.add_argument("--target", type=_amount, metavar="LOSS", help="the loss to reach at the least cost")
    p.add_argument(
        "--prices",
        choices=("paper",),
        help="the prices of Liu et al. (SIGIR 2025); the options below replace single ones",
    )
    p.add_argument(
        "--parameter-price",
        type=_amount,
        metavar="MONEY",
        help="price of a parameter, training and encoding together, in place of the options of the machine",
    )
    for option, (_, words) in PRICES.items():
        metavar = "MONEY" if option in ("pair_price", "gpu_hour") else "NUMBER"
        p.add_argument(f"--{option.replace('_', '-')}", type=_amount, metavar=metavar, help=words)
    p.add_argument("--currency", help="how money is written (default $)")
    p.add_argument("--within", choices=("box",), help="keep the plan inside the sizes and pairs of the runs")
    p.add_argument("--draws", type=int, default=1000, metavar="N", help="refits behind the intervals (default 1000)")


def _compare(p: argparse.ArgumentParser) -> None:
    p.add_argument("runs", metavar="RUN", nargs="+", help="TREC runs, two or more; NAME=FILE gives one a name")
    _qrels(p, required=True)
    p.add_argument("--baseline", metavar="NAME", help="compare every run with this one only")
    p.add_argument("--level", type=_level, default=0.95, help="confidence of the intervals (default 0.95)")
    _rows_out(p, "write the rows (.tex, .csv)")
    p.add_argument("--mteb", type=Path, metavar="FOLDER", help="write each run's means as a result file of MTEB")
    both_ways(p)


def _stability(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="the TREC run of the unchanged queries, then one for each rewording under the same query ids "
        "(NAME=FILE names the rewording); or one folder of records that were measured for stability",
    )
    _qrels(p, required=False)
    p.add_argument("--level", type=_level, default=0.95, help="confidence of the intervals (default 0.95)")
    _rows_out(p, "write the rows (.tex, .csv) or the figure (.pdf, .svg, .png, .html)")
    both_ways(p)


def _qrels(p: argparse.ArgumentParser, required: bool) -> None:
    p.add_argument("--qrels", type=Path, required=required, metavar="FILE", help="the judgements, in TREC's format")
    p.add_argument(
        "--measures",
        nargs="+",
        default=["nDCG@10"],
        metavar="MEASURE",
        help="as ir-measures spells them: nDCG@10 RR@10 R@100 (default nDCG@10)",
    )


def _rows_out(p: argparse.ArgumentParser, words: str) -> None:
    p.add_argument("--out", type=Path, action="append", default=[], metavar="FILE", help=words)


def _level(text: str) -> float:
    """A confidence from the command line."""
    try:
        level = float(text)
    except ValueError:
        level = math.nan
    if not 0 < level < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a number between 0 and 1 is needed, as 0.95")
    return level


def _amount(text: str) -> float:
    """A number from the command line, as 5000, 5e3, 5K or 1.2M; 5.000 may be five or five thousand."""
    if re.fullmatch(r"[1-9]\d{0,2}\.\d{2}0", text):  # nobody writes a zero at the end of decimals
        raise argparse.ArgumentTypeError(f"{text!r}: write {text.replace('.', '')} or {float(text):g} for it")
    number, times = (text[:-1], SUFFIXES[text[-1].lower()]) if text[-1:].lower() in SUFFIXES else (text, 1.0)
    try:
        amount = float(number) * times
    except ValueError:
        amount = math.nan
    if not math.isfinite(amount):
        raise argparse.ArgumentTypeError(f"{text!r}: a number is needed, as 5000, 5K or 1.2M")
    return amount


def described(parser: Any) -> list[tuple[str, str, list[str], bool]]:
    """Every option of a parser: its long name, its help, its choices, and whether a value follows."""
    rows = []
    for action in parser._actions:
        long = [s for s in action.option_strings if s.startswith("--")]
        if long and action.help != argparse.SUPPRESS:
            rows.append((long[0], str(action.help or ""), list(action.choices or ()), action.nargs != 0))
    return rows
