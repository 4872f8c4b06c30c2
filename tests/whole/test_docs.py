"""The site and the repository's own files name what there is."""

import pathlib
import re
import tomllib

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def cards(page):
    """The figure of every card of a gallery, and the page that it leads to."""
    pattern = r":img-top: (\S+)\n:img-alt: \S.*\n:link: (\S+)\n:link-type: doc\n"
    return re.findall(pattern, page)


def unknown_targets(commands):
    """What `make` is called with and the Makefile lacks."""
    words = [w for line in commands for w in re.findall(r"\bmake\s+(.+)", line)]
    return {word for line in words for word in line.split()} - TARGETS


def test_every_figure_is_in_the_gallery_once():
    figures = [
        path.relative_to(DOCS).as_posix()
        for folder in ("images", "results")
        for path in (DOCS / folder).glob("*.png")
    ]
    page = (DOCS / "gallery.md").read_text()
    assert len(figures) > 20
    assert sorted(figure for figure, _ in cards(page)) == sorted(figures)
    assert page.count(":img-top:") == len(figures)


def test_every_card_leads_to_a_page_that_shows_its_figure():
    for figure, name in cards((DOCS / "gallery.md").read_text()):
        assert figure in (DOCS / f"{name}.md").read_text(), name


def test_unknown_targets_are_seen():
    assert {"lint", "test-all", "docs"} < TARGETS
    assert unknown_targets(["make lint tests", "makes no", "cd x && make docs"]) == {
        "tests"
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_targets_that_exist(path):
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert commands
    assert not unknown_targets(commands)


def test_workflows_test_every_version_of_python_that_is_declared():
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = re.findall(r"Python :: (3\.\d+)", str(classifiers["classifiers"]))
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == declared


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_have_what_github_asks_for(path):
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert form.keys() <= {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= form.keys()
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert ids
    assert len(set(ids)) == len(ids)


def test_read_the_docs_installs_extras_that_exist():
    config = yaml.safe_load((ROOT / ".readthedocs.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (install,) = config["python"]["install"]
    assert set(install["extra_requirements"]) <= project["optional-dependencies"].keys()
    assert (ROOT / config["sphinx"]["configuration"]).is_file()
    assert config["build"]["tools"]["python"] in str(project["classifiers"])


def test_contributing_names_targets_that_exist():
    commands = re.findall(r"`(make [^`]+)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert commands
    assert not unknown_targets(commands)
