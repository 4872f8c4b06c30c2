"""Text as byte-pair pieces, in rows of a fixed length."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from suite.data import Arrays
from suite.files import replacing

# Before the first piece of a text and after its last.
END = 0
PADDING = -1


def train_pieces(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """The `vocabulary` most useful pieces; bytes are among them, so no text is unknown.

    Raises:
      ValueError: the texts have fewer.
    """
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator(texts, trainer)
    if (found := pieces.get_vocab_size()) != vocabulary:
        raise ValueError(
            f"vocabulary={vocabulary}: these texts have {found} pieces; take so many, "
            "or more text."
        )
    return pieces


def kept_pieces(texts: Sequence[str], vocabulary: int, folder: Path) -> Tokenizer:
    """The pieces of these very texts, from `folder` if they are there."""
    print_of = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
    path = folder / f"pieces-{vocabulary}-{print_of}.json"
    if not path.is_file():
        with replacing(path) as part:
            part.write_text(train_pieces(texts, vocabulary).to_str(), "utf-8")
    return Tokenizer.from_file(str(path))


def as_rows(pieces: Tokenizer, texts: Sequence[str], length: int) -> Arrays:
    """Inputs and labels [N, length]: each piece, and the one that follows it.

    A text longer than a row goes on in the next; the rest of its last row is padding,
    label -1.
    """
    inputs, labels = [], []
    for encoded in pieces.encode_batch(list(texts)):
        ids = [END, *encoded.ids, END]
        for begin in range(0, len(ids) - 1, length):
            row = ids[begin : begin + length + 1]
            missing = length + 1 - len(row)
            inputs.append(row[:-1] + missing * [END])
            labels.append(row[1:] + missing * [PADDING])
    return np.asarray(inputs, np.int32), np.asarray(labels, np.int32)
