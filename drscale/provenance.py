"""Where a measurement comes from: versions, the code's commit, the memory it took. No torch."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "faiss-cpu", "ir-measures")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of what a measurement depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("drscale", *PACKAGES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit of the code, with ``+`` when files it tracks differ; empty outside a git checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # installed inside somebody else's checkout, it fails
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def reset_peak() -> None:
    """Start a new peak of memory where the system can (Linux); elsewhere the peak is the process's own."""
    if sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """The most memory this process has held since, in MB."""
    if sys.platform == "linux":
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
