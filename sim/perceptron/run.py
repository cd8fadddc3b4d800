"""The perceptron on the RTL of an array, image by image block, against its golden model."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from hw.formats import BFLOAT16, FLOAT32
from hw.systolic.config import ArrayConfig
from sim.golden.formats import convert, decode, encode
from sim.perceptron.model import Perceptron
from sim.systolic import ArrayDriver, Gemm

__all__ = ["Outcome", "classify"]

PROCESSES = 2
BLOCK = 512  # images of a simulation job


@dataclass(frozen=True)
class Outcome:
    """``logits``: float32 words of the RTL; ``cycles``, ``utilisation`` of the whole run."""

    logits: np.ndarray
    bit_exact: bool
    cycles: int
    formula_cycles: int
    utilisation: float

    @property
    def labels(self) -> np.ndarray:
        return decode(self.logits, FLOAT32).argmax(axis=1)


def _block(config: ArrayConfig, model: Perceptron, x: np.ndarray):
    driver = ArrayDriver(config)
    w1, b1, w2, b2 = model.words()
    first = driver.run([Gemm(x, w1, b1, relu=True)])
    hidden = convert(first.results[0], FLOAT32, BFLOAT16)
    second = driver.run([Gemm(hidden, w2, b2)])
    runs = (first, second)
    return (hidden, second.results[0], sum(run.cycles for run in runs),
            sum(run.formula_cycles for run in runs), sum(run.macs for run in runs))


def classify(config: ArrayConfig, model: Perceptron, x: np.ndarray, *,
             progress: Callable[[int], None] = lambda images: None) -> Outcome:
    """Run ``x`` (images, inputs), values in 0 to 1, through both layers on the RTL.

    Blocks of images run in two processes; cycles are those of all blocks, one after the other.
    """
    model.check(x)
    words = encode(x, BFLOAT16)
    ArrayDriver(config).close()  # build once, before the processes want it
    blocks = {start: words[start:start + BLOCK] for start in range(0, len(words), BLOCK)}
    done = {}
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(_block, config, model, block): start
                for start, block in blocks.items()}
        for job in as_completed(jobs):
            done[jobs[job]] = job.result()
            progress(len(blocks[jobs[job]]))
    parts = [done[start] for start in blocks]
    hidden, logits = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
    cycles, formula, macs = (sum(part[n] for part in parts) for n in (2, 3, 4))
    golden_hidden, golden_logits = model.golden(words)
    return Outcome(
        logits=logits,
        bit_exact=bool((hidden == golden_hidden).all() and (logits == golden_logits).all()),
        cycles=cycles,
        formula_cycles=formula,
        utilisation=macs / (config.rows * config.cols * cycles))
