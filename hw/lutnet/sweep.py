"""Search over hyper-parameters and generator parameters: an Optuna study with a shared journal.

A point is a training configuration and a network configuration. It is trained, scored on the
validation part, and its LUTs are counted by synthesis; the study looks for the points that no other
beats in both. The journal is a file that any number of processes and machines may share, at the
same time or one after the other: a study goes on where the journal ends.
"""

import math
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from . import data as datasets
from . import model as models
from .config import NetworkConfig
from .settings import TrainConfig

__all__ = ["Space", "evaluate", "executor", "front", "sweep"]

_FIELDS = {f.name: (kind, f.default) for kind in (TrainConfig, NetworkConfig) for f in fields(kind)}


def _value(name: str, text: str) -> Any:
    default = _FIELDS[name][1]
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, tuple):
            parts = text.split(",")
            return tuple(int(p) if p.isdecimal() else p for p in parts if p)
        return type(default)(text)
    except (ValueError, KeyError):
        raise ValueError(f"a value of {name} must be like {default!r}, not {text!r}") from None


class Space:
    """What a study chooses among, made of lists of words as the command line has them.

    ``["tau", "1:8:log"]`` is a range with both ends, ``["nodes", "100", "500,100"]`` are choices.

    Raises :exc:`ValueError` for a name that is no field of the two configurations, or a value that
    its field does not take.
    """

    def __init__(self, words: list[list[str]]):
        self.choices: dict[str, tuple[Any, ...]] = {}
        self.ranges: dict[str, tuple[Any, Any, bool]] = {}
        for name, *values in words:
            if name not in _FIELDS or name in ("seed", "validation"):
                known = ", ".join(n for n in _FIELDS if n not in ("seed", "validation"))
                raise ValueError(f"search must begin with one of {known}, not {name!r}")
            if not values:
                raise ValueError(f"search of {name} must have values, or a range as 1:8")
            if len(values) == 1 and ":" in values[0]:
                low, high, *log = values[0].split(":")
                low, high = _value(name, low), _value(name, high)
                if not isinstance(low, int | float) or isinstance(low, bool) or not low < high \
                        or log not in ([], ["log"]):
                    raise ValueError(f"a range of {name} must be LOW:HIGH or LOW:HIGH:log, "
                                     f"not {values[0]!r}")
                self.ranges[name] = low, high, bool(log)
            else:
                self.choices[name] = tuple(_value(name, v) for v in values)
        if not words:
            raise ValueError("search must be given at least once, as --search nodes 100 300")

    def draw(self, trial) -> dict[str, Any]:
        """The values that ``trial`` asks for."""
        point = {}
        for name, values in self.choices.items():
            # Optuna keeps only plain values: the index of a choice is one.
            point[name] = values[trial.suggest_categorical(name, range(len(values)))]
        for name, (low, high, log) in self.ranges.items():
            suggest = trial.suggest_int if isinstance(low, int) else trial.suggest_float
            point[name] = suggest(name, low, high, log=log)
        return point


def evaluate(spec: str, train: TrainConfig, network: NetworkConfig, path: Path) -> dict[str, Any]:
    """Train a point on the data set ``spec``, save it at ``path``, and measure it.

    ``score``: on the validation part, accuracy or coefficient of determination; the test part is
    not looked at. ``lut_core``, ``lut_encoder``, ``lut_total``, ``latency_cycles``: by synthesis.
    """
    from .report import figures
    from .train import Trainer

    trainer = Trainer(datasets.load(spec), train)
    for _ in range(train.epochs):
        row = trainer.step()
    model = trainer.model()
    models.save(path, model, repr(train))
    counted = figures(model, network)
    return {"score": row[3], "lut_core": counted.lut_core, "lut_encoder": counted.lut_encoder,
            "lut_total": counted.lut_total, "latency_cycles": counted.latency}


@contextmanager
def executor(processes: int, dask: str = "") -> Iterator[tuple[Executor, int]]:
    """Where points are evaluated, and how many at a time: own processes, or a Dask cluster."""
    if dask:
        from distributed import Client
        try:
            client = Client(dask, timeout=10)
        except (OSError, ValueError) as error:
            raise ValueError(f"dask must be the address of a scheduler that answers, not {dask!r} "
                             f"({error})") from None
        with client:
            yield client.get_executor(pure=False), sum(client.nthreads().values())
        return
    # Fresh processes: compiled kernels and their threads do not survive a fork.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield pool, processes


def _open(journal: Path, name: str, seed: int, facts: dict[str, Any]):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))), study_name=name,
        directions=["maximize", "minimize"], load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed))
    for key, value in facts.items():
        known = study.user_attrs.get(key, value)
        if known != value:
            raise ValueError(f"{key} of the study in {journal} must stay {known}, not {value}")
        study.set_user_attr(key, value)
    return study


def sweep(spec: str, train: TrainConfig, network: NetworkConfig, space: Space, *, trials: int,
          folder: Path, processes: int = 1, dask: str = "", seed: int = 0,
          cost: str = "lut_total", report: Callable[[int, dict], None] = lambda *_: None):
    """Run the study in ``folder``/journal.log until it has ``trials`` finished points.

    ``train`` and ``network`` say what the space leaves open. ``report`` is called with a point's
    number and its measures. A point that cannot be (more classes than nodes, say) counts as
    failed, and is tried no more. Returns the study.
    """
    from optuna.trial import TrialState

    if not 0 < train.validation:
        raise ValueError(f"validation must be above 0 for a search, not {train.validation!r}")
    study = _open(folder / "journal.log", "sweep", seed, {
        "data": spec, "train": repr(train), "network": repr(network), "cost": cost})
    finished = sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))
    left, running = trials - finished, {}
    with executor(processes, dask) as (pool, width):
        while left > 0 or running:
            while left > 0 and len(running) < width:
                trial, left = study.ask(), left - 1
                point = space.draw(trial)
                try:
                    configs = [replace(c, **{n: v for n, v in point.items()
                                             if _FIELDS[n][0] is type(c)})
                               for c in (train, network)]
                except ValueError as error:
                    _fail(study, trial, error)
                    continue
                path = folder / f"trial{trial.number:04d}.npz"
                running[pool.submit(evaluate, spec, *configs, path)] = trial
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                trial = running.pop(future)
                try:
                    measures = future.result()
                except ValueError as error:
                    _fail(study, trial, error)
                    continue
                for key, value in measures.items():
                    trial.set_user_attr(key, value)
                if math.isfinite(measures["score"]):
                    study.tell(trial, (measures["score"], measures[cost]))
                else:
                    study.tell(trial, state=TrialState.FAIL)
                report(trial.number, measures)
    return study


def _fail(study, trial, error):
    from optuna.trial import TrialState

    trial.set_user_attr("error", str(error))
    study.tell(trial, state=TrialState.FAIL)


def front(study, space: Space) -> list[dict[str, Any]]:
    """The points of ``study`` that none beats in both score and cost, cheapest first."""
    rows = []
    for trial in sorted(study.best_trials, key=lambda t: (t.values[1], -t.values[0])):
        point = {name: space.choices[name][value] if name in space.choices else value
                 for name, value in trial.params.items()}
        rows.append({"trial": trial.number, **trial.user_attrs, "parameters": point})
    return rows
