"""The wheel's description: the README without what only a clone has, pictures and links to its files.

All else is said in pyproject.toml. The project has no address yet to which such links could lead.
"""

import re
from pathlib import Path

from setuptools import setup

PICTURES = re.compile(r"^\|.*\|\n\|[ :|-]+\|\n(?:\|.*!\[.*\|\n)+", re.MULTILINE)  # a table of pictures
SAID = "*Pictures, notebooks and the other files that this text names are in the repository's folder, not here.*\n"
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)")


def description(readme: str) -> str:
    """The README for who has no clone: a sentence in the place of the pictures, and words in that of links to files."""
    return LINK.sub(r"\1", PICTURES.sub(SAID, readme))


if __name__ == "__main__":
    readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    setup(long_description=description(readme), long_description_content_type="text/markdown")
