"""Sphinx configuration; a public name without a page entry fails the build."""

import os
import pathlib
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
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "results/*.md"]
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Pages and notebooks. Both builders of `make docs` share what notebooks put out.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(pathlib.Path(__file__).parent / "_build/notebooks")
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

# Copying an example takes its code, not the prompts or what it prints.
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

# Elsewhere a build needs no network: a site that cannot be reached would fail it.
if os.environ.get("READTHEDOCS"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "jax": ("https://docs.jax.dev/en/latest", None),
        "optax": ("https://optax.readthedocs.io/en/latest", None),
        "flax": ("https://flax.readthedocs.io/en/latest", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
    }

html_theme = "sphinx_book_theme"
html_title = f"optax_mi {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "navbar_persistent": [],  # a second search box beside that of the sidebar
}


def repository():
    """Where the site is built from, as Read the Docs or GitHub say it, or None."""
    url = os.environ.get("READTHEDOCS_GIT_CLONE_URL", "")
    if not url and os.environ.get("GITHUB_REPOSITORY"):
        url = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}".format(**os.environ)
    url = url.removesuffix(".git")
    return url if url.startswith("https://") else None


def branch():
    """The branch or tag that the site is built from."""
    names = "READTHEDOCS_GIT_IDENTIFIER", "GITHUB_REF_NAME"
    return next((os.environ[name] for name in names if name in os.environ), "main")


if url := repository():
    html_theme_options |= {
        "repository_url": url,
        "repository_branch": branch(),
        "path_to_docs": "docs",
        "use_repository_button": True,
        "use_edit_page_button": True,
        "use_issues_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    }

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
