"""Sphinx's settings; docs/make_site.py lays out the sources, calls Sphinx and checks what it wrote."""

import re

import drscale

project = author = html_title = "drscale"
release = version = drscale.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
language = "en"
exclude_patterns = ["conf.py"]

# Notebooks are shown as they are stored, without a widget's scripts, which would come from another host.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "text/html", 0)]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "myst.xref_missing", "mystnb.unknown_mime_type"]
mathjax_path = "none"  # nothing here is typeset by MathJax

autosummary_generate = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 90
add_module_names = False
autodoc_use_legacy_class_based = False

html_theme = "sphinx_book_theme"
html_theme_options = {"show_toc_level": 2, "use_download_button": False, "home_page_in_toc": True}
html_static_path = ["static"]
html_css_files = ["drscale.css"]
html_extra_path = ["extra"]
html_context = {"default_mode": "auto"}
html_show_sphinx = False
html_copy_source = False  # a notebook is downloaded from the repository, where its figures are inside
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

LITERAL = re.compile(r"(``.*?``|:\w+:`[^`]*`)")


def plain(text: str) -> str:
    """A docstring's line for reStructuredText: a formula's asterisks, bars and closing underscores are themselves."""
    parts = LITERAL.split(text)
    return "".join(p if i % 2 else re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", p) for i, p in enumerate(parts))


def escape(_app, _what, _name, _object, _options, lines: list[str]) -> None:
    """Make a docstring's prose safe for reStructuredText, and leave its examples alone."""
    example = False
    for i, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            lines[i] = plain(line)


def setup(app) -> None:
    app.connect("autodoc-process-docstring", escape)
