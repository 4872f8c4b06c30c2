r"""The average estimate of a joint table if outputs are independent of the labels.

Label y has the share :math:`p_y` and :math:`n_y` samples, and outputs are class x with
probability :math:`q_x`, which has the mean :math:`m_x`. Then the average is

.. math::
    b = \sum_y p_y \sum_x m_x \ln\!\left(1 + \frac{A_x(n_y)\, c_y}{n_y}\right), \qquad
    A(n) = \frac s2 + \frac{e^j - 1 - s / 2}{1 + 0.7\, n/s + 0.175\, (n/s)^2},

where :math:`r = q_x / m_x`, :math:`s = \mathrm{Var}(r)`, :math:`j = \mathrm{E}[r \ln
r]` and :math:`c_y = (1 - p_y) N / (N - 1)`, because a row is drawn without replacement.
Each term approximates :math:`m\, \mathrm{E}[\bar r \ln \bar r]` for the mean of
:math:`n_y` values of r. It is exact for one sample (j) and for many (s / 2n), and its
constants are fitted to Poisson counts.

References: Miller, in Quastler (ed.), Information Theory in Psychology, 1955, for the
first order. Vinh, Epps and Bailey, JMLR 11, 2837-2854, 2010, for the exact value of
hard counts, whose :math:`s = 1/m - 1` and :math:`j = -\ln m`.
"""

import jax
import jax.numpy as jnp

# Bins of group_shares, in all and per doubling.
_BINS, _PER_DOUBLING = 128, 4


def chance_of(
    p_label: jax.Array,
    p_output: jax.Array,
    count: jax.Array,
    spread: jax.Array | None = None,
    copies: jax.Array | None = None,
) -> jax.Array:
    """The chance level in nats for `count` samples with these shares [R] and [C].

    `spread` [2, C] has the means of q (1 - q) and of -q ln q; None means hard counts,
    for which both are 0. `copies` [C] is the number of outputs with each share.
    """
    of_labels = None
    if len(p_label) > _BINS:
        p_label, of_labels = group_shares(p_label, count)
    # Treat the smallest shares as 0: their reciprocals could overflow.
    share = jnp.where(p_output > 1e-30, p_output, 1.0)
    not_hard, surprise = (0.0, 0.0) if spread is None else spread / share[None, :]
    s = (1.0 - share - not_hard) / share
    j = -jnp.log(share) - surprise
    n = jnp.where(p_label > 0, p_label * count, 1.0)[:, None]
    # The ratio is infinite if s is 0; then a is 0.
    ratio = n / s[None, :]
    far = 0.5 * s[None, :]
    near = jnp.expm1(j)[None, :]
    a = far + (near - far) / (1.0 + ratio * (0.7 + 0.175 * ratio))
    left = (1.0 - p_label) * count / jnp.maximum(count - 1.0, 1.0)
    nats = jnp.log1p(a * jnp.minimum(left, 1.0)[:, None] / n)
    output = p_output if copies is None else p_output * copies
    label = p_label if of_labels is None else p_label * of_labels
    chance = jnp.sum(label * jnp.sum(nats * output[None, :], 1))
    # For nearly constant probabilities the sum is 0, but can round below it. With one
    # sample, or probabilities in place of counts, nothing varies.
    return jnp.where(count <= 1, 0.0, jnp.maximum(chance, 0.0))


def group_shares(shares: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Replaces many shares [K] by means in log bins, and the number in each bin."""
    # Shares of 0 fall into the first bin and add nothing there.
    place = jnp.log2(shares * count) + 8.0
    place = jnp.clip(jnp.round(place * _PER_DOUBLING), 0, _BINS - 1).astype(jnp.int32)
    rows = jnp.stack([shares, (shares > 0).astype(shares.dtype)], 1)
    total, copies = jnp.zeros((_BINS, 2), shares.dtype).at[place].add(rows).T
    return total / jnp.maximum(copies, 1.0), copies
