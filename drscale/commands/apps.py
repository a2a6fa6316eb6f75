"""Serve the explorers as pages of their own: from the repository, or from an installed wheel, which holds them too."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

from drscale.commands.arguments import UserError

NAMES = {"localhost": True, "": False}  # names of this machine, and whether only it can reach them


def serve(arguments: argparse.Namespace) -> int:
    """Serve the explorers until the user interrupts; whoever opens a page needs the token that is printed."""
    if importlib.util.find_spec("voila") is None:
        raise UserError("Voila, which serves the pages, is not installed; bring it with: pip install voila ipykernel")
    with resources.as_file(resources.files("drscale").joinpath("apps")) as folder:
        if not (folder / "voila.json").is_file():
            raise UserError(f"{folder}: no apps here; install drscale anew")
        return subprocess.run(command(arguments), cwd=folder, env=surroundings(folder)).returncode


def command(arguments: argparse.Namespace) -> list[str]:
    """Voila's command: a token always, and requests for another host's name only where other machines may come."""
    words = [sys.executable, "-m", "voila", ".", f"--Voila.ip={arguments.ip}"]
    words += [f"--Voila.port={arguments.port}"] if arguments.port else []
    words += ["--no-browser"] if arguments.no_browser else []
    if not only_here(arguments.ip):
        words.append("--Voila.tornado_settings={'allow_remote_access': True}")
    return words


def only_here(ip: str) -> bool:
    """Whether an address to listen at can be reached from this machine alone.

    >>> from drscale.commands.apps import only_here
    >>> only_here("127.0.0.1"), only_here("localhost"), only_here("0.0.0.0")
    (True, True, False)
    """
    if ip in NAMES:
        return NAMES[ip]
    try:
        return ipaddress.ip_address(ip).is_loopback
    except ValueError:
        raise UserError(f"--ip {ip}: an address is needed, as 127.0.0.1, or 0.0.0.0 for every machine") from None


def surroundings(folder: Path) -> dict[str, str]:
    """The environment of the server: its page's template beside the user's own, and the folder saved figures go to."""
    paths = [str(folder), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    return os.environ | {"JUPYTER_PATH": os.pathsep.join(paths), "DRSCALE_APP_FOLDER": str(Path.cwd())}
