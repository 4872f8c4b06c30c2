"""Many processes on one machine, joined by `jax.distributed` over loopback."""

import contextlib
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading

import jax
import multihost
import numpy as np
import pytest

from optax_mi import MIDiagnostics, mi_diagnostics

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
PADDING = -multihost.SAMPLES % multihost.BATCH
# What takes so long hangs, on any machine.
HANG_S = 300
# The recipe's training without end, logged by every process and in full.
LOG_ALL = """
import json, sys
import jax, multihost
address, processes, process = sys.argv[1:]
jax.distributed.initialize(
    address, int(processes), int(process), heartbeat_timeout_seconds=10
)
for seen in multihost.train(1_000_000):
    print(json.dumps([float(field) for field in seen]), flush=True)
"""


def as_written(address, processes, process):
    options = (f"--coordinator={address}", f"--processes={processes}")
    return ["multihost.py", *options, f"--process-id={process}", "--epochs=6"]


def log_all(address, processes, process):
    return ["-c", LOG_ALL, address, str(processes), str(process)]


@contextlib.contextmanager
def started(command, processes, folder):
    """The processes, none of which outlives the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JAX", "XLA")) and "proxy" not in name.lower()
    }
    env |= {"JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_BIND_ADDRESS": address}
    with contextlib.ExitStack() as stack:
        jobs = []

        def kill():
            for job in jobs:
                job.kill()

        # A line that never comes ends with the process that owes it.
        timer = threading.Timer(HANG_S, kill)
        timer.start()
        stack.callback(timer.cancel)
        for process in range(processes):
            errors = stack.enter_context(open(folder / f"{process}.txt", "w"))
            job = subprocess.Popen(
                [sys.executable, *command(address, processes, process)],
                cwd=EXAMPLES,
                env=env,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            jobs.append(stack.enter_context(job))
        stack.callback(kill)
        yield jobs


@contextlib.contextmanager
def launched(command, processes, folder):
    """Likewise, with what each has printed, on a port that nobody took meanwhile."""
    for _ in range(3):
        with started(command, processes, folder) as jobs:
            first = jobs[0].stdout.readline()
            errors = (folder / "0.txt").read_text()
            if not first and "Failed to start RPC server" in errors:
                continue
            yield jobs, [first] + [""] * (processes - 1)
            return


def rest(printed, jobs):
    """All that each has printed, at the end of each."""
    return [start + job.stdout.read() for start, job in zip(printed, jobs, strict=True)]


def one_device():
    """What every epoch sees on one device, without padding."""
    x, labels = multihost.load_data()
    params, state = jax.jit(multihost.init)()
    for epoch in itertools.count():
        order = np.random.default_rng(epoch).permutation(len(labels))
        for start in range(0, len(order), multihost.BATCH):
            some = order[start : start + multihost.BATCH]
            weights = np.ones(len(some), np.float32)
            batch = {"x": x[some], "labels": labels[some], "weights": weights}
            params, state = multihost.train_step(params, state, batch)
        yield jax.device_get(jax.jit(mi_diagnostics)(state)["all"])


def rows(printed):
    """The diagnostics among the lines, the first of which is Gloo's own."""
    lines = [line for line in printed.splitlines() if "Gloo" not in line]
    return [MIDiagnostics(*json.loads(line)) for line in lines]


def test_the_recipe_as_written(tmp_path):
    # Of the last batch one process of two has fewer samples; of four one has none.
    assert multihost.SAMPLES % multihost.BATCH == 3
    with launched(as_written, 2, tmp_path) as (jobs, printed):
        printed = rest(printed, jobs)
        assert [job.wait() for job in jobs] == [0, 0], (tmp_path / "0.txt").read_text()
    assert "epoch" not in printed[1]
    found = re.findall(
        r"epoch (\d+): learning rate (\S+), (\S+) of (\S+) nats known of (\d+)",
        printed[0],
    )
    assert len(found) == 6
    for fields, truth in zip(found, one_device(), strict=False):
        epoch, learning_rate, mi, entropy, count = map(float, fields)
        assert epoch == truth.epoch
        assert count == truth.num_samples == multihost.SAMPLES
        want = (truth.learning_rate, truth.mi, truth.entropy)
        # As far as five digits tell.
        np.testing.assert_allclose((learning_rate, mi, entropy), want, rtol=1e-4)
    assert learning_rate < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "victim"), [(2, 0), (4, 3)])
def test_when_one_process_is_killed_the_others_fail(processes, victim, tmp_path):
    with launched(log_all, processes, tmp_path) as (jobs, printed):
        for i, job in enumerate(jobs):
            while len(rows(printed[i])) < 3 and (line := job.stdout.readline()):
                printed[i] += line
        jobs[victim].kill()
        seen = [rows(text) for text in rest(printed, jobs)]
        ends = {job.wait() for job in jobs if job is not jobs[victim]}
    errors = (tmp_path / f"{(victim + 1) % processes}.txt").read_text()
    # Who had to be killed hung.
    assert not ends & {0, -signal.SIGKILL}, errors
    assert min(map(len, seen)) >= 3, errors
    longest = max(seen, key=len)
    for ours, truth in zip(longest, one_device(), strict=False):
        assert ours[5:-1] == truth._replace(dropped=PADDING)[5:-1]
        assert ours.chance == pytest.approx(float(truth.chance), rel=1e-5)
        # Not to the bit: the sums of the parts are rounded in another order.
        np.testing.assert_allclose(ours[:5], truth[:5], rtol=1e-5)
    for process in seen:
        assert process == longest[: len(process)]
