"""An engine held against the instruction-set simulator: on one program, and on many random ones."""

import math
import random
from dataclasses import dataclass

from sim.golden.vta import first_divergence
from sim.vta_engine import Conditions, EngineError, IssEngine, Outcome, differences
from sim.vta_fuzz import FuzzProgram

__all__ = ["Comparison", "compare", "draw_conditions"]


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found; ``problem`` is one sentence, or ``None`` if all is equal.

    ``divergence`` is a sentence about the first instruction whose effect differs, as far as the
    engine can tell what its instructions wrote.
    """

    outcome: Outcome | None
    problem: str | None = None
    divergence: str | None = None


def compare(engine, program: FuzzProgram, conditions: Conditions) -> Comparison:
    """Run ``program`` on ``engine`` and on the simulator: status, DRAM and scratchpads.

    A race of the program is a problem, too. The simulator itself as ``engine`` executes its units
    in another order, drawn from the seed.
    """
    model = IssEngine(program.config)
    options = {"order": conditions.seed} if isinstance(engine, IssEngine) else {}

    def run(tested, trace=False, **options):
        return tested.run(program.image, program.insn_addr, program.insn_count, conditions,
                          trace=trace, **options)

    expected = run(model)
    try:
        actual = run(engine, **options)
    except EngineError as error:
        return Comparison(None, str(error))
    problem = differences(expected, actual)
    if problem is None and expected.notes["races"]:
        problem = expected.notes["races"][0]
    if problem is None:
        return Comparison(actual)
    traces = [run(tested, trace=True, **o).trace for tested, o in ((model, {}), (engine, options))]
    return Comparison(actual, problem, first_divergence(*traces, program.config, program.words))


def draw_conditions(latency: tuple[int, int], stall: tuple[float, float], seed: int) -> Conditions:
    """Conditions of program ``seed``: latency evenly by its logarithm, stall evenly."""
    rng = random.Random(f"conditions {seed}")
    low, high = latency
    drawn = round(math.exp(rng.uniform(math.log(low), math.log(high))))
    return Conditions(min(max(drawn, low), high), round(rng.uniform(*stall), 3), seed)
