"""Sphinx configuration; a public name without a page entry fails the build."""

from importlib.metadata import version as get_version

from sphinx.util import logging

import optax_mi
import optax_mi.equinox
import optax_mi.flax
import optax_mi.plotting

project = "optax_mi"
author = "The optax_mi authors"
copyright = "2026, the optax_mi authors"
version = release = get_version("optax-mi")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "results/*.md"]
default_role = "literal"
myst_enable_extensions = ["colon_fence", "dollarmath"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
html_theme = "sphinx_book_theme"
html_title = "optax_mi"
html_theme_options = {"home_page_in_toc": True, "show_toc_level": 2}

PUBLIC = {
    "optax_mi": optax_mi.__all__,
    "optax_mi.estimators": optax_mi.estimators.__all__,
    "optax_mi.rules": optax_mi.rules.__all__,
    "optax_mi.equinox": ["capture_layers"],
    "optax_mi.flax": ["MITrainState", "capture_layers", "recompute_batch_stats"],
    "optax_mi.plotting": optax_mi.plotting.__all__,
}


def check_coverage(app, env):
    documented = set(env.get_domain("py").objects)
    for module, names in PUBLIC.items():
        for name in names:
            if f"{module}.{name}" not in documented:
                logging.getLogger(__name__).warning("undocumented: %s.%s", module, name)


def setup(app):
    app.connect("env-check-consistency", check_coverage)
