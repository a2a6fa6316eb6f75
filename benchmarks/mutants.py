"""How much the tests hold: small faults put into the hard parts, one at a time, and whether a test notices.

A named list of faults that once shipped unnoticed, then a seeded sample for each file: a comparison turned, an operator
swapped, a number one higher, a condition dropped or negated. Each is written into a copy of the house, whose tests of
that room run until the first fails. A survivor is printed with its line, to be judged: equal in effect, or a hole.

    python benchmarks/mutants.py --named              # the named ones: about ten minutes of one core
    python benchmarks/mutants.py --sample 10 --seed 1  # ten a file beside them: hours
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300  # a fault that makes tests hang is noticed, after this or five times what the tests take
# The hard parts, and the tests of their rooms.
FILES = {
    "losses.py": "losses",
    "evaluate/entropy.py": "evaluate",
    "evaluate/ranking.py": "evaluate evaluate_retrievers",
    "laws/fit.py": "laws_fit",
    "laws/levels.py": "laws_levels",
    "budget/plan.py": "budget",
    "budget/prices.py": "budget",
    "training/batches.py": "training",
    "training/strategies.py": "training_strategies training_weight",
    "attacks/entropy.py": "attacks_protocol training_strategies",
    "poisoning/exposure.py": "poisoning",
    "frontier/dominance.py": "frontier",
    "instructions/measure.py": "instructions",
    "geometry/measure.py": "geometry",
    "mixed/margins.py": "mixed",
    "mixed/scores.py": "mixed_scores",
    "runs.py": "runs",
    "labels/supervision.py": "labels_supervision",
}
# Faults that an outside look found unnoticed (commit 6441fdd): file, what stands there, what the fault makes of it.
NAMED = [
    ("evaluate/ranking.py", '"ndcg10": "nDCG@10"', '"ndcg10": "nDCG@11"'),
    ("evaluate/ranking.py", "grades[grades > 0]", "grades[grades >= 0]"),
    ("evaluate/entropy.py", "- int(np.diff(starts).max())", "- int(np.diff(starts).min())"),
    ("budget/plan.py", "low = max(n0, (budget - prices.pair", "low = max(n0, (budget + prices.pair"),
    ("budget/plan.py", "(budget - prices.pair * d0) / prices", "(budget - prices.pair * d0) * prices"),
    ("budget/plan.py", "high = min(n1, (budget - prices.pair * d0)", "high = min(n1, (budget - prices.pair / d0)"),
    ("budget/plan.py", "_parameter * n1, budget - prices.pair * d0)", "_parameter * n1, budget - prices.pair / d0)"),
    ("budget/plan.py", "max(prices.per_parameter * n0, budget", "max(prices.per_parameter / n0, budget"),
    ("frontier/dominance.py", "np.broadcast_to(r[2]", "np.broadcast_to(r[1]"),
    ("frontier/dominance.py", "[0.5 - level / 2, 0.5 + level / 2]", "[0.5 - level / 2, 0.5 + level / 3]"),
    ("poisoning/exposure.py", "values[0] in (0.0, 1.0)", "values[0] in (0.0, 2.0)"),
    ("poisoning/exposure.py", "if values.min() == values.max() and values[0]", "if values[0]"),
    ("poisoning/exposure.py", "np.isin(values, (0, 1)).all()", "np.isin(values, (0, 1)).any()"),
    ("geometry/measure.py", "math.sqrt(1 + 1 / len(values))", "math.sqrt(1 + 1 * len(values))"),
    ("attacks/entropy.py", "made[..., 1:] = -torch.inf", "made[..., 1:] = torch.inf"),
    ("attacks/entropy.py", "if found.isna().any():", "if found.isna().all():"),
    ("training/strategies.py", "value = alpha[0] * effectiveness.detach()", "value = alpha[0]"),
    ("training/batches.py", ": max(1, round(share * count))]", ": max(2, round(share * count))]"),
    ("laws/fit.py", "if law in LAWS else list(inspect", "if law not in LAWS else list(inspect"),
]
TURNED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
TURNED |= {ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in"}
SWAPPED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.Pow: "*", ast.FloorDiv: "*", ast.Mod: "*"}


def faults(source: str) -> list[tuple[int, int, str, str]]:
    """Every fault of a source: where it begins and ends, what stands there, what is put there."""
    lines, found = source.splitlines(keepends=True), []
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    raw = source.encode()

    def put(node: ast.expr, text: str) -> None:
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        found.append((begin, end, raw[begin:end].decode(), f"({text})"))

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in TURNED:
            left, right = ast.unparse(node.left), ast.unparse(node.comparators[0])
            put(node, f"{left} {TURNED[type(node.ops[0])]} {right}")
        elif (
            isinstance(node, ast.BinOp)
            and type(node.op) in SWAPPED
            and not isinstance(node.left, ast.Constant | ast.JoinedStr)
        ):
            put(node, f"{ast.unparse(node.left)} {SWAPPED[type(node.op)]} {ast.unparse(node.right)}")
        elif isinstance(node, ast.BoolOp):
            put(node, ast.unparse(node.values[0]))
            put(node, ast.unparse(node.values[-1]))
        elif isinstance(node, ast.IfExp):
            put(node, ast.unparse(node.body))
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)
        ):
            put(node, repr(node.value + 1))
    return found


def noticed(house: Path, file: str, text: str, limit: float) -> tuple[bool, float, str]:
    """Whether a test of the file's room fails where the file holds this text, after how many seconds, and its words."""
    place = house / "drscale" / file
    good, began = place.read_text(), time.perf_counter()
    tests = [f"tests/test_{name}.py" for name in FILES[file].split()]
    try:
        place.write_text(text)
        command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        about = os.environ | {"PYTHONPATH": str(house), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=house, env=about, capture_output=True, text=True, timeout=limit)
        return done.returncode != 0, time.perf_counter() - began, done.stdout
    except subprocess.TimeoutExpired:
        return True, time.perf_counter() - began, f"no end within {limit:.0f} s"
    finally:
        place.write_text(good)


def chosen(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """The faults to try: the file, its text with the fault, and how the fault reads."""
    found = []
    for file, old, new in NAMED if options.named or not options.sample else ():
        source = (ROOT / "drscale" / file).read_text()
        if source.count(old) != 1:
            raise SystemExit(
                f"{file}: {old!r} stands {source.count(old)} times in it; the list of faults wants an update"
            )
        found.append((file, source.replace(old, new), f"{old} -> {new}"))
    for file in FILES if options.sample else ():
        source = (ROOT / "drscale" / file).read_text()
        every = faults(source)
        drawn = random.Random(f"{options.seed} {file}").sample(every, min(options.sample, len(every)))
        for begin, end, old, new in sorted(drawn):
            raw = source.encode()
            line = raw[:begin].count(b"\n") + 1
            found.append((file, (raw[:begin] + new.encode() + raw[end:]).decode(), f"{line}: {old} -> {new}"))
    return [each for each in found if not options.only or options.only in each[0]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--named", action="store_true", help="the faults that once went unnoticed")
    options.add_argument("--sample", type=int, default=0, metavar="N", help="so many random faults a file")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", default="", metavar="FILE", help="a part of the file's path")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        house = Path(folder) / "house"
        left_out = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", "models")
        shutil.copytree(ROOT, house, ignore=left_out, symlinks=True)
        limits = {}
        for file in sorted({file for file, _, _ in chosen(given)}):
            found, seconds, words = noticed(house, file, (house / "drscale" / file).read_text(), 3600)
            if found:
                raise SystemExit(f"{file}: its tests fail without a fault:\n{words[-2000:]}")
            limits[file] = max(SECONDS, 5 * seconds)
        killed = survived = 0
        for file, text, said in chosen(given):
            found, seconds, _ = noticed(house, file, text, limits[file])
            killed, survived = killed + found, survived + (not found)
            print(
                f"{'noticed ' if found else 'SURVIVED'} {seconds:5.0f} s  {file}  {' '.join(said.split())}", flush=True
            )
    print(f"{killed} of {killed + survived} faults are noticed, {killed / max(killed + survived, 1):.0%}")


if __name__ == "__main__":
    main()
