"""How Sphinx makes the book of the pages that `book.py` lays out."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # accessible.py

import featx

project = "featx"
author = "the featx authors"
copyright = "the featx authors, BSD-3-Clause"
release = version = featx.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",  # numpydoc docstrings
    "accessible",
]
exclude_patterns = ["notebooks"]  # to download, as they are in the repository

# The lessons were executed before, several at a time, and are kept.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # from a foreign address, and there are no widgets here
nb_render_image_options = {"align": "left"}
nb_code_prompt_show = "Show the {type}"
nb_code_prompt_hide = "Hide the {type}"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

autosummary_generate = True
templates_path = [str(Path(__file__).parent / "templates")]  # not beside the laid out pages
autodoc_typehints = "none"  # the docstrings say it in words
autodoc_member_order = "bysource"
default_role = "py:obj"  # `name` in a docstring leads to what it names, where there is such a thing
napoleon_google_docstring = False
napoleon_use_rtype = False
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = "featx"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "back_to_top_button": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": [], "CHANGELOG": [], "docs/architecture": []}
