"""Programs are compiled once, in the caller's contexts, and outlive no function."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi.range_test._programs import Functions, _programs, program


class Holder:
    """What a function of the user's may hold."""

    def __init__(self):
        self.data = np.ones(3, np.float32)


def made():
    holder = Holder()

    def scale(x):
        return x * holder.data

    return scale, weakref.ref(holder)


def test_a_program_is_compiled_once_and_goes_with_its_functions():
    before = len(_programs)
    scale, held = made()
    x = jnp.arange(3.0)

    def compiled(x, scale=scale):
        return program(lambda x: scale(x) + 1, Functions((scale,), (1,)), x)

    np.testing.assert_array_equal(compiled(x)(x), [1, 2, 3])
    assert compiled(x) is compiled(x + 1)
    # Another shape is another program.
    assert compiled(x) is not compiled(jnp.ones((2, 3)))
    assert len(_programs) == before + 2
    del scale, compiled
    gc.collect()
    assert held() is None
    assert len(_programs) == before


def test_contexts_of_the_caller_are_part_of_a_program():
    scale, _ = made()
    x = jnp.ones((4, 4))

    def product(x):
        return x @ x

    def compiled():
        return program(product, Functions((scale,), ()), x)

    plain = compiled()
    with jax.default_matmul_precision("float32"):
        assert compiled() is not plain
    assert compiled() is plain


def test_other_settings_and_methods_are_other_programs():
    class Adds:
        def __init__(self, number):
            self.number = number

        def call(self, x):
            return x + self.number

    one, two = Adds(1.0), Adds(2.0)
    x = jnp.zeros(())
    results = [
        program(adds.call, Functions((adds.call,), settings), x)(x)
        for adds, settings in ((one, ()), (two, ()), (one, (3,)), (one, ()))
    ]
    assert results == [1, 2, 1, 1]
