"""Language models: pieces, texts, masked losses, and the script, on made texts."""

import dataclasses
import itertools
import math

import jax
import language as script
import numpy as np
import pytest
from suite.data import Data
from suite.files import load_json
from suite.language import BLOCK, LANGUAGES, Language, make_trainer, masked_loss
from suite.language_state import ESTIMATORS, state_bytes, state_table
from suite.methods import PLAIN
from suite.pieces import END, PADDING, as_rows, kept_pieces, train_pieces
from suite.wordnet import parse

from optax_mi import mi_decay

WORDS = ("light", "lamp", "and", "the", "dark", "of", "night", "were", "over", "sea")


def made_texts(rows=400):
    """Sentences of two to twelve words, the same in whatever order tests run."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(2, 13))) for _ in range(rows)]


@pytest.fixture(scope="module")
def pieces():
    return train_pieces(made_texts(), 275)


def test_pieces_give_back_any_text(pieces):
    assert pieces.get_vocab_size() == 275
    for text in [*made_texts(20), "Öl, 9 €!", "never seen"]:
        shown = [pieces.id_to_token(i) for i in pieces.encode(text).ids]
        decoder = {character: byte for byte, character in byte_characters().items()}
        raw = bytes(decoder[character] for character in "".join(shown))
        assert raw.decode() == f" {text}"


def byte_characters():
    """The printable stand-in of each byte, as GPT-2 has it."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {
        byte: chr(256 + i) for i, byte in enumerate(others)
    }


def test_too_small_a_text_is_one_line():
    with pytest.raises(ValueError, match=r"^vocabulary=9000: .* pieces; take .*$"):
        train_pieces(made_texts(), 9000)


def test_pieces_are_kept_for_the_same_texts_alone(tmp_path):
    first = kept_pieces(made_texts(), 270, tmp_path)
    (path,) = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    again = kept_pieces(made_texts(), 270, tmp_path)
    assert again.get_vocab() == first.get_vocab()
    assert path.stat().st_mtime_ns == before
    kept_pieces(made_texts(399), 270, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_rows_are_those_of_a_slow_loop(pieces):
    texts, length = made_texts(30), 5
    x, y = as_rows(pieces, texts, length)
    row = 0
    for text in texts:
        ids = [END, *pieces.encode(text).ids, END]
        pairs = list(itertools.pairwise(ids))
        while pairs:
            for place in range(length):
                if pairs:
                    assert (x[row, place], y[row, place]) == pairs.pop(0)
                else:
                    assert y[row, place] == PADDING
            row += 1
    assert row == len(x) == len(y)


def test_padding_is_masked_as_numpy_does():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4, 6, 11)).astype(np.float32)
    labels = rng.integers(0, 11, (4, 6))
    labels[:, 4:] = PADDING
    losses, kept = masked_loss(logits, labels)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for row in range(4):
        for place in range(6):
            label = labels[row, place]
            expected = 0.0 if label == PADDING else -math.log(p[row, place, label])
            assert losses[row, place] == pytest.approx(expected, rel=1e-5)
            assert kept[row, place] == (label != PADDING)


SMALL = Language(
    "made", made_texts, lambda: "", 275, 8, 2, held=(10, 20), batch=4, length=6, width=8
)


@pytest.mark.usefixtures("compiles_fast")
def test_perplexity_is_of_pieces_that_are_not_padding(pieces):
    x, y = as_rows(pieces, made_texts(BLOCK), SMALL.length)
    # A number of rows that fills no block, so that whole rows of padding are added.
    data = Data((x, y), (x[:5], y[:5]), (x[: BLOCK + 3], y[: BLOCK + 3]))
    trainer = make_trainer(SMALL, PLAIN["adamw"], data, 1)
    run = trainer.start(np.float32(0.01), jax.random.key(0))
    measured = trainer.measure(run)["adamw"]
    for part, (x, y) in (("valid", data.valid), ("test", data.test)):
        logits = np.asarray(SMALL.model.apply(run[0], x), float)
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        kept = y != PADDING
        chosen = np.take_along_axis(p, np.where(kept, y, 0)[..., None], -1)[..., 0]
        expected = np.exp(-np.log(chosen[kept]).mean())
        assert np.exp(measured[f"{part}_loss"]) == pytest.approx(expected, rel=1e-4)
        hits = (logits.argmax(-1) == y)[kept].mean()
        assert measured[f"{part}_accuracy"] == pytest.approx(hits, rel=1e-5)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_bytes_are_those_of_a_real_state(name):
    tx = mi_decay(1.0, estimator=ESTIMATORS[name](1500))
    leaves = jax.tree.leaves(tx.init(np.zeros(1, np.float32)))
    assert state_bytes(name, 1500) == sum(np.asarray(leaf).nbytes for leaf in leaves)


def test_a_table_that_is_refused_is_counted_but_not_timed():
    row = {"bytes": state_bytes("contingency", 50_000), "ratio": None}
    found = {"50000": {"seconds": 0.01, "rows": {"contingency": row}}}
    assert "| 50,000 | contingency | 30 GB, needed | 10.0 | - |" in state_table(found)


WORDNET = """\
00-database-info
   A dictionary.
arch
    n 1: a curved shape that
         spans an open-
         ing; "an arch of triumph" [syn: {archway}]
    2: a bony arch
    adj : naughtily or annoyingly playful [ant:
          {grave}]
archway
    n 1: a curved shape that spans an open-ing; "an arch of triumph"
    v 3: form an arch
"""


def test_definitions_are_parsed_once_each():
    assert parse(WORDNET.splitlines(keepends=True)) == [
        'a curved shape that spans an open-ing; "an arch of triumph"',
        "a bony arch",
        "naughtily or annoyingly playful",
        "form an arch",
    ]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--seeds", "1"], "--seeds: must be a whole number of at least 2, got '1'"),
        (["--languages", "9k"], "--languages: no 9k; there are"),
        (["--pairs", "0"], "--pairs: must be a whole number of at least 1, got '0'"),
        ([], "apt-get install made-text"),
    ],
)
def test_wrong_arguments_are_one_line(monkeypatch, capsys, arguments, match):
    absent = dataclasses.replace(SMALL, missing=lambda: "apt-get install made-text")
    monkeypatch.setitem(LANGUAGES, "8k", absent)
    with pytest.raises(SystemExit) as stop:
        script.main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert match in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_the_script_runs_and_resumes(tmp_path, monkeypatch):
    for name in list(LANGUAGES):
        monkeypatch.setitem(LANGUAGES, name, SMALL)
    monkeypatch.setattr(script, "shortened", lambda language: language)
    monkeypatch.setattr(script, "READINGS", 2)
    monkeypatch.setattr(script, "RATES", (0.01, 0.03))
    script.main(["--short", "--output", str(tmp_path)])
    folder = tmp_path / "short"
    first = load_json(folder / "language.json")["languages"]
    for found in first.values():
        assert set(found["rows"]) >= {"adamw + average", "mi adamw contingency"}
        for row in found["rows"].values():
            for end in row["horizons"].values():
                assert np.isfinite(end["perplexity"]).all()
        for reading in found["readings"]["by"].values():
            closed = [n for n in reading["padding"] if n is not None]
            assert closed
            assert reading["dropped"][-len(closed) :] == closed
    assert all(len(rates) == 1 for rates in first["32k"]["rates"].values())
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*")}
    assert len(stamps) == 15
    script.main(["--short", "--output", str(tmp_path)])
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert load_json(folder / "language.json")["languages"] == first
    assert (folder / "language.png").stat().st_size > 10_000
