"""Draws the information plane of a network that learns the UCI digits.

X is one of the 1797 images with equal probability, and T a layer plus Gaussian noise,
whose standard deviation is a quarter of the layer's spread. Then T is a mixture of 1797
known Gaussians, and I(X; T) and I(T; Y) are integrals over it. So nothing is estimated
from samples, and training and measurement both use all inputs.
"""

import argparse
import math
import sys
from collections.abc import Iterator

from arguments import demo_parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    return demo_parser(__doc__, epochs=128).parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import flax.linen as nn
import jax
import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table
from shared import MLP, known, mixture_mi, replacing, spread

from optax_mi.plotting import plot_information_plane

# Standard deviation of the noise, as a share of the layer's spread.
NOISE = 0.25
# All layers are read after the activation, except the last, which gives the logits.
LAYERS = {f"dense {i + 1}": f"Dense_{i}" for i in range(4)}


def digits() -> known.Case:
    """Returns a tanh network, all images, and their labels."""
    case = next(case for case in known.cases() if case.name == "digits, MLP")
    model = MLP((64, 64, 64), 10, nn.tanh)
    return case._replace(model=model, layers=LAYERS, activation=nn.tanh)


def moments(epochs: int) -> list[int]:
    """Returns epoch 0, which is untrained, and about 15 more, first close together."""
    later = np.geomspace(1, epochs, 15).round().astype(int)
    return sorted({0, *map(int, later)})


def measure(
    rows: np.ndarray, shares: np.ndarray, key: jax.Array
) -> tuple[float, float, float]:
    """Returns I(X; T) and I(T; Y) of a layer and their larger standard error, in nats.

    Args:
      rows: outputs of the layer for every input, [M, d].
      shares: p(y | x) of every input, [M, C].
      key: key for the points at which the integrand is evaluated.
    """
    centres = rows / (NOISE * spread(rows))
    input_mi, input_error = mixture_mi(centres, None, key)
    label_mi, label_error = mixture_mi(centres, shares, key)
    return input_mi, label_mi, max(input_error, label_error)


def run(
    seed: int, epochs: int
) -> Iterator[tuple[int, float, dict[str, tuple[float, float, float]]]]:
    """Trains, and yields epochs, accuracies and the information of each layer."""
    case = digits()
    for epoch, seen in known.train(case, moments(epochs), 0.002, seed):
        # The same noise each time, so that it does not blur the changes.
        key = jax.random.key(seed)
        told = {layer: measure(h, case.shares, key) for layer, h in seen.items()}
        right = seen["dense 4"].argmax(1) == case.shares.argmax(1)
        yield epoch, float(right.mean()), told


def main(argv: list[str] | None = None) -> None:
    """Runs the demo."""
    args, console = parse(argv), Console()
    table = Table(title="I(X; T), I(T; Y) in nats, noise on each layer")
    for column in ("epoch", "right", *LAYERS):
        table.add_column(column, justify="right")
    history = []
    with Live(table, console=console):
        for epoch, right, told in run(args.seed, args.epochs):
            history.append((epoch, told))
            cells = (f"{mi_x:.2f}, {mi_y:.2f}" for mi_x, mi_y, _ in told.values())
            table.add_row(f"{epoch}", f"{right:.1%}", *cells)
            if not console.is_terminal:  # where the table is shown at the end alone
                console.print(f"epoch {epoch}/{args.epochs}  right {right:.1%}")
    error = max(error for _, told in history for *_, error in told.values())
    console.print(f"\nstandard errors of the integrals: at most {error:.4f} nats")

    def paths(place: int) -> dict[str, list[float]]:
        return {layer: [told[layer][place] for _, told in history] for layer in LAYERS}

    shares = digits().shares
    prior = shares.mean(0)
    figure = plot_information_plane(
        input_mi=paths(0),
        label_mi=paths(1),
        epochs=[epoch for epoch, _ in history],
        label_entropy=float(-(prior * np.log(prior)).sum()),
        input_entropy=math.log(len(shares)),
        width=5.0,
        title="UCI digits, noise of a quarter of each layer's spread",
    )
    path = args.output / "information_plane.png"
    with replacing(path) as part:
        figure.savefig(part, dpi=150)
    console.print(f"figure saved as {path}")


if __name__ == "__main__":
    sys.exit(main())
