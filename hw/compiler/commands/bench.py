"""``bench``: cycles of networks with the shapes of well-known ones."""

import importlib
import json
import random

import numpy as np

from hw.compiler.link import compile_network
from hw.compiler.operators import Network
from hw.compiler.program import Compiled, Launch
from hw.compiler.proof import words_of
from hw.compiler.replay import predict
from hw.compiler.schedule import Plan, Schedule
from hw.compiler.search import candidates
from hw.compiler.visits import Visit
from hw.compiler.zoo import CONVOLUTIONS, ZOO
from hw.vta.config import PRESETS, VtaConfig, read_config

__all__ = ["LEVELS", "options", "run", "bench"]

LEVELS = {"model": "the timing of the core without its data",
          "iss": "the same, and the instruction-set simulator's bits",
          "rtl": "the core itself, and its bits"}


def options(parser) -> None:
    parser.add_argument("network", choices=ZOO, help="its shapes, with random weights")
    parser.add_argument("--level", choices=LEVELS, default="model",
                        help="; ".join(f"{name}: {text}" for name, text in LEVELS.items()))
    parser.add_argument("--config", default="default", metavar="FILE",
                        help=f"of the core: a JSON file, or {', '.join(PRESETS)} "
                        "(default: %(default)s)")
    parser.add_argument("--latency", type=int, default=16, metavar="CYCLES",
                        help="of memory (default: %(default)s)")
    parser.add_argument("--alternatives", type=int, default=0, metavar="COUNT",
                        help="schedules of each layer, drawn by chance, whose cycles are counted, "
                        "too; the best is best_cycles (default: none)")
    parser.add_argument("--whole", action="store_true", help="of a large network not only the "
                        "convolutions, but also its stem and classifier")


def run(options) -> int:
    """Prints one JSON line: cycles of a network in one run of the core, and of each layer alone."""
    print(json.dumps(bench(options.network, read_config(options.config), level=options.level,
                           latency=options.latency, whole=options.whole,
                           alternatives=options.alternatives)))
    return 0


def bench(name: str, config: VtaConfig, *, level: str = "model", latency: int = 16,
          whole: bool = False, alternatives: int = 0) -> dict:
    """Cycles of network ``name`` of :data:`hw.compiler.zoo.ZOO`.

    ``ideal_cycles``: all multiply-accumulates at the rate of the array. Layers of the same shapes
    are measured once, each in a launch of its own, with its beginning and end. With
    ``alternatives``, ``best_cycles`` is the least of those of that many other schedules.
    """
    convolutions = name in CONVOLUTIONS and not whole
    network = ZOO[name](**{"convolutions": True} if convolutions else {})
    rate = config.batch * config.block ** 2
    macs = sum(step.macs for step in network.steps)
    program = compile_network(network, config)
    cycles, equal = _measure(program, network, level, latency)
    report = {
        "network": name, "part": "convolutions" if convolutions else "whole", "level": level,
        "cycles": cycles, "ideal_cycles": round(macs / rate),
        "utilisation": round(macs / rate / cycles, 4),
        "tile": [config.batch, config.block, config.block],
        "memory": {"bus_bits": config.bus_width, "latency": latency,
                   "activation_bytes": program.peak, "lower_bound": program.bound},
    } | ({} if equal is None else {"bits": "equal" if equal else "different"})
    alone = compile_network(network, config, split=True)
    known, layers = {}, []
    for launch in alone.steps:
        plan, = launch.plans
        visit = plan.visit
        if visit.kind not in known:
            taken = _timed(alone, launch, level, latency)
            others = [_alternative(visit, schedule, config, latency)
                      for schedule in _drawn(visit, config, alternatives)]
            known[visit.kind] = taken, {"best_cycles": min(others), "alternatives": len(others)} \
                if others else {}
        (taken, best), ideal = known[visit.kind], visit.macs / rate
        layers.append(best | {
            "name": visit.name, "operators": [type(o).__name__ for o in visit.operators],
            "input": visit.x and visit.x.shape, "result": visit.shape,
            "kernel": visit.window.kernel, "cycles": taken, "ideal_cycles": round(ideal),
            "utilisation": round(ideal / taken, 4),
            "predicted_cycles": predict(plan, latency),
            "schedule": plan.schedule.to_dict()})
    return report | {"layers": layers}


def _measure(program: Compiled, network: Network, level: str, latency: int
             ) -> tuple[int, bool | None]:
    """Cycles of all launches, and whether the outputs are those of the operators."""
    launches = [step for step in program.steps if isinstance(step, Launch)]
    if level == "model":
        return sum(_timed(program, launch, level, latency) for launch in launches), None
    rng = np.random.default_rng(0)
    values = {name: rng.integers(-128, 128, (1, *network.tensors[name].shape)).astype(np.int8)
              for name in network.inputs}
    sim = importlib.import_module("sim.vta_engine")
    results = program.run(values, level=level, conditions=sim.Conditions(latency))
    golden = importlib.import_module("sim.golden.compiler.operators").run(network, values, None)
    return sum(program.cycles), all(np.array_equal(results[name], golden[name])
                                    for name in network.outputs)


def _timed(program: Compiled, launch: Launch, level: str, latency: int) -> int:
    if level == "rtl":
        sim = importlib.import_module("sim.vta_engine")
        return sim.engine("rtl", program.config).run(
            program.image, launch.insn_addr, launch.insn_count, sim.Conditions(latency)).cycles
    timing = importlib.import_module("sim.vta_cycles")
    return timing.cycles(program.config, words_of(program, launch), program.image,
                         insn_addr=launch.insn_addr, latency=latency).cycles


def _drawn(visit: Visit, config: VtaConfig, count: int) -> list[Schedule]:
    found = [plan.schedule for plan in candidates(visit, config)] if count else []
    return random.Random(0).sample(found, min(count, len(found)))


def _alternative(visit: Visit, schedule: Schedule, config: VtaConfig, latency: int) -> int:
    """Cycles of a visit, with another schedule."""
    inputs = tuple(dict.fromkeys(x.name for x in visit.reads))
    tensors = {x.name: x for x in (*visit.reads, *(o.y for o in visit.operators))}
    network = Network(inputs, tuple(x.name for x in visit.stores), tensors, visit.operators)
    program = compile_network(network, config, packed=False,
                              schedule=lambda visit, config: Plan(visit, schedule, config))
    launch, = program.steps
    return _timed(program, launch, "model", latency)
