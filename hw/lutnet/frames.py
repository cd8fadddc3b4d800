"""Training for oversampling: every sample as frames of bits, as :class:`Modulator` cuts them.

The network learns to answer from one frame; the answers of a sample's frames are averaged. Frames
of one sample are not told apart from samples, so there is no validation part here.
"""

from dataclasses import replace

import numpy as np

from .data import Dataset
from .model import Encoder, Model
from .oversample import cuts
from .settings import TrainConfig

__all__ = ["coder", "train_on_frames"]


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
    from .train import Trainer  # numba, an extra

    encoder = coder(data.x_train, width)
    codes = encoder.codes(data.x_train)
    x = np.concatenate([codes > cut for cut in cuts(width, frames)]).astype(np.float64)
    framed = Dataset(data.name, x, np.tile(data.y_train, frames), x[:1], data.y_train[:1])
    trainer = Trainer(framed, replace(config, encoder="bit", validation=0.0))
    while trainer.epoch < config.epochs:
        trainer.step()
    return trainer.model(), encoder
