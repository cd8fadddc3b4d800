"""Training for oversampling: every sample as frames of bits, as :class:`Modulator` cuts them.

The loss is that of the mean of a sample's frames, as BinaryBrain takes it: answers that are right
one by one are each drawn to the mean of the targets, and their mean even more.
"""

from dataclasses import replace

import numpy as np

from .data import Dataset
from .model import Encoder, Model
from .oversample import cuts
from .settings import TrainConfig

__all__ = ["coder", "held_out_errors", "train_on_frames"]


def coder(x: np.ndarray, width: int) -> Encoder:
    """Codes of ``width`` bits over the middle of each feature: its quantiles 0.1 to 0.9.

    A frame cut in the outer tenths would tell little: nearly all of its bits are equal.
    """
    low, high = np.quantile(x, [0.1, 0.9], axis=0)
    empty = np.zeros(0, np.int32)
    return Encoder(width, low, np.maximum((high - low) / 2 ** width, 1e-9), empty, empty)


def train_on_frames(data: Dataset, config: TrainConfig, width: int, frames: int) \
        -> tuple[Model, Encoder]:
    """A network of one-bit features, trained on ``frames`` of each sample, and the coder.

    ``config``: its encoder and validation are taken as ``bit`` and 0.
    """
    from .train_frames import FrameTrainer  # numba, an extra

    encoder = coder(data.x_train, width)
    codes = encoder.codes(data.x_train)
    x = np.concatenate([codes > cut for cut in cuts(width, frames)]).astype(np.float64)
    framed = Dataset(data.name, x, np.tile(data.y_train, frames), x[:1], data.y_train[:1])
    trainer = FrameTrainer(framed, replace(config, encoder="bit", validation=0.0), frames)
    while trainer.epoch < config.epochs:
        trainer.step()
    return trainer.model(), encoder


def held_out_errors(data: Dataset, config: TrainConfig, width: int, frames: int,
                    passes: list[int], folds: int = 5) -> dict[int, float]:
    """Mean squared error of a regression for each number of passes, on the training part alone.

    Cross-validation: each sample is held out once. What settings are chosen by.
    """
    from sim.golden import lutnet as golden  # the edge may reach across

    order = np.random.default_rng(config.seed + 1).permutation(len(data.x_train))
    errors: dict[int, list[np.ndarray]] = {count: [] for count in passes}
    for fold in range(folds):
        held, kept = order[fold::folds], np.delete(order, np.s_[fold::folds])
        part = Dataset(data.name, data.x_train[kept], data.y_train[kept],
                       data.x_train[held], data.y_train[held])
        model, encoder = train_on_frames(part, config, width, frames)
        codes = encoder.codes(part.x_test)
        for count in passes:
            mean = golden.oversample(model, codes, width, count) / count
            errors[count].append((golden.regress(model, mean) - part.y_test) ** 2)
    return {count: float(np.concatenate(parts).mean()) for count, parts in errors.items()}
