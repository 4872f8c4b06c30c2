r"""What a joint table reads, on average, of outputs that know nothing of the labels.

With labels of shares :math:`p_y` and :math:`n_y` samples, and outputs that are class x
with probability q, of mean :math:`m_x`,

.. math::
    b = \sum_y p_y \sum_x m_x \ln\!\left(1 + \frac{A_x(n_y)\, c_y}{n_y}\right), \qquad
    A(n) = \frac s2 + \frac{e^j - 1 - s / 2}{1 + 0.7\, n/s + 0.175\, (n/s)^2},

where :math:`r = q_x / m_x`, :math:`s = \mathrm{Var}(r)`, :math:`j = \mathrm{E}[r \ln
r]` and :math:`c_y = (1 - p_y) N / (N - 1)`, since a row is drawn without replacement.
Each term is :math:`m\, \mathrm{E}[\bar r \ln \bar r]` for the mean of :math:`n_y`
values of r, exact for one sample (j) and for many (s / 2n), with constants fitted to
Poisson counts.

References: Miller, in Quastler (ed.), Information Theory in Psychology, 1955, for the
first order. Vinh, Epps and Bailey, JMLR 11, 2837-2854, 2010, for the exact value of
hard counts, whose :math:`s = 1/m - 1` and :math:`j = -\ln m`.
"""

import jax
import jax.numpy as jnp

# Bins of group_shares, and how many there are to a doubling.
_BINS, _PER_DOUBLING = 128, 4


def chance_of(
    p_label: jax.Array,
    p_output: jax.Array,
    count: jax.Array,
    spread: jax.Array | None = None,
    copies: jax.Array | None = None,
) -> jax.Array:
    """Nats read by chance from `count` samples with these shares [R] and [C].

    `spread` [2, C] are the means of q (1 - q) and of -q ln q; None for hard counts,
    where both are 0. `copies` [C] tells how many outputs have each share.
    """
    of_labels = None
    if len(p_label) > _BINS:
        p_label, of_labels = group_shares(p_label, count)
    # The smallest shares are nothing; their reciprocals could overflow.
    share = jnp.where(p_output > 1e-30, p_output, 1.0)
    not_hard, surprise = (0.0, 0.0) if spread is None else spread / share[None, :]
    s = (1.0 - share - not_hard) / share
    j = -jnp.log(share) - surprise
    n = jnp.where(p_label > 0, p_label * count, 1.0)[:, None]
    # Infinite where s is 0, and a is 0.
    ratio = n / s[None, :]
    far = 0.5 * s[None, :]
    near = jnp.expm1(j)[None, :]
    a = far + (near - far) / (1.0 + ratio * (0.7 + 0.175 * ratio))
    left = (1.0 - p_label) * count / jnp.maximum(count - 1.0, 1.0)
    nats = jnp.log1p(a * jnp.minimum(left, 1.0)[:, None] / n)
    output = p_output if copies is None else p_output * copies
    label = p_label if of_labels is None else p_label * of_labels
    chance = jnp.sum(label * jnp.sum(nats * output[None, :], 1))
    # Of nearly constant probabilities all can round below the 0 that they have. One
    # sample, or probabilities in place of counts, leave nothing to vary.
    return jnp.where(count <= 1, 0.0, jnp.maximum(chance, 0.0))


def group_shares(shares: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Few shares for many [K], means in bins of a log, and how many each is for."""
    # What has no share adds nothing to the first bin.
    place = jnp.log2(shares * count) + 8.0
    place = jnp.clip(jnp.round(place * _PER_DOUBLING), 0, _BINS - 1).astype(jnp.int32)
    rows = jnp.stack([shares, (shares > 0).astype(shares.dtype)], 1)
    total, copies = jnp.zeros((_BINS, 2), shares.dtype).at[place].add(rows).T
    return total / jnp.maximum(copies, 1.0), copies
