"""The notebooks of the docs run from top to bottom, and are stored without outputs."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "notebooks"
# What each says in words, as its cells print it.
PRINTED = {
    "first_hour": [
        r"the resumed run is the same to the bit: True",
        r"labels goes from 1 to num_classes=10",
        r"No epoch has closed in 200 updates",
    ],
    "any_time": [
        r"against raw weights.*\n(  +\d+ updates  -0\.\d+ ± 0\.\d+\n){7}",
        r"told the end.*\n(  +\d+ updates  [+-]0\.\d+ ± 0\.\d+\n){7}",
    ],
    "no_knob": [
        r"lr_max 0\.0\d+: at .* averaging",
        r"lr_max 0\.\d+: .* nats gained",
        r"lr_max none: no learning rate learns",
        r"ValueError: auto found no learning rate",
        r"too low:  no learning rate learns",
        r"next try: .* nats gained",
    ],
    "layers": [r"(?:\w+ +\w+ +1797 different rows of 1797 images\n){8}"],
    "estimators": [
        r"(9\d|100) of 100 intervals contain the truth",
        r"parabola +gaussian_mi 0\.0\d+ +ksg_mi 0\.[5-9]",
        r"20 columns: truth 4\.46 +gaussian_mi 4\.\d+ +ksg_mi [0-3]\.",
        r"nan - .* fewer than 10",
        r"nan - .* too few for a table",
        r"exp\(x\) .* to inf",
    ],
}


def cells(name):
    return json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]


def script(name):
    """The code of a notebook as one program, without its magics."""
    code = ["".join(cell["source"]) for cell in cells(name) if "outputs" in cell]
    return re.sub(r"^( *)%.*", r"\1pass", "\n\n".join(code), flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path):
    path = tmp_path / f"{name}.py"
    path.write_text(script(name))
    done = subprocess.run(
        [sys.executable, "-W", "error", path],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for pattern in PRINTED[name]:
        assert re.search(pattern, done.stdout), f"{pattern}\n{done.stdout}"


def test_there_are_these_notebooks():
    assert {path.stem for path in FOLDER.glob("*")} == set(PRINTED)
    assert len(PRINTED) <= 5


@pytest.mark.parametrize("name", PRINTED)
def test_a_notebook_is_stored_without_outputs(name):
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text())
    assert notebook["metadata"] == {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    assert notebook["nbformat"] == 4
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids) > 10
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.parametrize("name", PRINTED)
def test_a_notebook_begins_with_a_title_and_installs_on_colab_alone(name):
    first, install, *others = cells(name)
    assert first["source"][0].startswith("# ")
    assert "".join(install["source"]) == (
        'import sys\n\nif "google.colab" in sys.modules:\n'
        '    %pip install -q "optax-mi[examples]"'
    )
    assert not any("%pip" in line for cell in others for line in cell["source"])


@pytest.mark.parametrize("name", PRINTED)
def test_links_of_a_notebook_lead_to_files(name):
    text = "".join(
        line
        for cell in cells(name)
        if cell["cell_type"] == "markdown"
        for line in cell["source"]
    )
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert len(links) >= 3
    assert all((FOLDER / link).resolve().is_file() for link in links)
