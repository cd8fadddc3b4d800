"""The trainer of networks that see each sample several times: :mod:`hw.lutnet.frames`."""

import numpy as np

from .data import Dataset
from .settings import TrainConfig
from .train import Trainer

__all__ = ["FrameTrainer"]


class FrameTrainer(Trainer):
    """Its rows are samples, and a batch has all frames of each; the loss is that of their mean.

    ``data``: the first frames of all samples, then the second ones, and so on.
    """

    def __init__(self, data: Dataset, config: TrainConfig, frames: int):
        super().__init__(data, config)
        self.frames = frames
        self.samples = len(data.x_train) // frames
        self.rows = np.arange(self.samples)

    def _batch_bits(self, rows):
        return super()._batch_bits((np.arange(self.frames)[:, None] * self.samples + rows)
                                   .reshape(-1))

    def _head(self, sums, target):
        mean = sums.reshape(self.classes, self.frames, -1).mean(1)
        loss, right, grad = super()._head(mean, target)
        return loss, right, np.tile(grad / np.float32(self.frames), self.frames)
