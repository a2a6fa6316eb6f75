"""Sphinx's settings; docs/make_site.py lays out the sources, calls Sphinx and checks what it wrote."""

import re
from html import escape
from html.parser import HTMLParser

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


def proof(_app, _what, _name, _object, _options, lines: list[str]) -> None:
    """Make a docstring's prose safe for reStructuredText, and leave its examples alone."""
    example = False
    for i, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            lines[i] = plain(line)


# Raw HTML of a notebook or a page: tags that draw, attributes that neither run nor fetch, links that lead somewhere.
TAGS = set(
    re.findall(
        r"\w+",
        """a b br code del details div em figcaption figure h1 h2 h3 h4 hr i img ins li ol p pre s small span strong
        sub summary sup table tbody td tfoot th thead tr u ul""",
    )
)
ATTRIBUTES = set(
    re.findall(
        r"\w+",
        "align alt border class colspan download halign height id loading open rowspan start style title valign width",
    )
)
SCHEMES = {"http", "https", "mailto"}


class Harmless(HTMLParser):
    """Write HTML anew with what is allowed; a tag that is not becomes text, a style sheet and a comment nothing.

    Tags are not paired, because a Markdown page hands over the start and the end of a fold one by one.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        self.parts: list[str] = []
        self.styling = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.styling = tag == "style"
        if tag in TAGS:
            kept = "".join(
                f' {n}="{escape(v or "")}"' if v is not None else f" {n}" for n, v in attrs if harmless(n, v)
            )
            self.parts.append(f"<{tag}{kept}>")
        elif not self.styling:
            self.parts.append(escape(self.get_starttag_text() or "", quote=False))

    def handle_endtag(self, tag: str) -> None:
        if tag in TAGS:
            self.parts.append(f"</{tag}>")
        elif not self.styling:
            self.parts.append(f"&lt;/{tag}&gt;")
        self.styling = False

    def handle_data(self, data: str) -> None:
        self.parts.append("" if self.styling else escape(data, quote=False))

    def handle_entityref(self, name: str) -> None:
        self.parts.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.parts.append(f"&#{name};")


def harmless(name: str, value: str | None) -> bool:
    """Whether an attribute can neither run a script nor ask another host for something by itself."""
    value = re.sub(r"[\x00-\x20]", "", value or "")
    if name in ("href", "src"):
        scheme = re.match(r"([A-Za-z][\w+.-]*):", value)
        return (not scheme or scheme[1].lower() in SCHEMES) and not (name == "src" and value.startswith("//"))
    return name in ATTRIBUTES and not (name == "style" and re.search(r"url\(|expression\(|@import|\\\\", value, re.I))


def setup(app) -> None:
    from docutils import nodes
    from sphinx.transforms import SphinxTransform

    class Clean(SphinxTransform):
        """Let no page run what a name of a run, a label or a cell of a table brings along.

        It comes before titles are taken to other pages, which Sphinx does at 880.
        """

        default_priority = 870

        def apply(self, **_) -> None:
            for node in list(self.document.findall(nodes.raw)):
                if "html" in node.get("format", "").split():
                    text = "".join(Harmless(node.astext()).parts)
                    node.replace_self(nodes.raw(text, text, format="html", classes=node["classes"]))

    app.connect("autodoc-process-docstring", proof)
    app.add_transform(Clean)
