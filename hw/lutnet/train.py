"""Trainer of LUT networks: tables by gradient, wiring by scores of candidates, one thread.

Each pin of the first layer owns scores for its candidate inputs (a pool that a block of nodes
shares); the best one is connected, and ``dL/d score[k] = sum_s (2 bit_k[s] - 1) dL/d pin[s]``
teaches the others as if they were (Bacellar et al.). Scores are updated every ``wiring_every``-th
batch. Later layers draw their wiring at random unless ``deep_wiring``. The sums of the last layer's
groups, divided by ``tau``, are the logits of a softmax. Adam, the rate falls along half a cosine.

The same configuration and data give the same network, bit for bit, on one machine.
"""

import ast
from dataclasses import asdict

import numpy as np
from threadpoolctl import threadpool_limits

from . import kernels, thermometer
from .data import Dataset, split
from .model import Model
from .settings import TrainConfig
from .state import BLOCK, STATE, LayerState
from .train_front import FrontTrainer

__all__ = ["TrainConfig", "Trainer"]


class Trainer:
    """One training run: ``step`` an epoch at a time, ``model`` at any time.

    ``progress`` holds a row ``(epoch, loss, train accuracy, validation accuracy)`` for every epoch;
    for a regression the accuracies are coefficients of determination. Without a validation part
    its column is NaN.
    """

    def __init__(self, data: Dataset, config: TrainConfig):
        self.data, self.config = data, config
        self.regression = data.regression
        self.classes = 1 if self.regression else data.classes
        counts = list(config.nodes)
        if counts[-1] < self.classes:
            raise ValueError(f"nodes of the last layer must be at least one for each of the "
                             f"{self.classes} classes, not {counts[-1]!r}")
        counts[-1] -= counts[-1] % self.classes
        if (config.shift or config.degrees or config.zoom) and data.image is None:
            raise ValueError("shift, degrees and zoom must be 0 for data that are not images")
        fit_rows, self.held = split(len(data.x_train), config.validation, config.seed + 1)
        self.front = None
        rng = np.random.default_rng(config.seed)
        if config.stages:
            if data.image is None:
                raise ValueError("stages must be empty for data that are not images")
            pixels = data.image[0] * data.image[1]
            seen = data.x_train[fit_rows].reshape(len(fit_rows) * pixels, -1)
            self.pixel = thermometer.fit(seen, config.encoder, levels=config.levels,
                                         width=config.width)
            self.encoder = self.pixel.tiled(pixels)
            self.front = FrontTrainer(config, data.image, self.pixel.bits, rng)
        else:
            self.encoder = thermometer.fit(data.x_train[fit_rows], config.encoder,
                                           levels=config.levels, width=config.width)
        self.augmented = bool(config.shift or config.degrees or config.zoom)
        self.codes = self.encoder.codes(data.x_train)
        if self.augmented and data.x_train.dtype != np.uint8:
            raise ValueError("shift, degrees and zoom need images of unsigned bytes")
        self.raw = data.x_train if self.augmented else None
        self.rows = fit_rows
        if self.regression:
            y = data.y_train[fit_rows]
            self.centre, self.spread = float(y.mean()), float(max(y.std(), 1e-12))
        self.bits = self.front.bits if self.front else self.encoder.bits
        useful = self._useful()
        self.layers = []
        for index, count in enumerate(counts):
            last = index == len(counts) - 1
            narrow = np.zeros(count, bool)
            if last and config.narrow:
                size = count // self.classes
                inside = np.arange(count) % size
                narrow = inside >= size - round(config.narrow * size)
            self.layers.append(LayerState(
                config, count, useful, self.bits if index == 0 else counts[index - 1],
                index == 0 or config.deep_wiring, narrow, rng))
            useful = np.arange(count)
        self.group = np.repeat(np.arange(self.classes), counts[-1] // self.classes)\
            .astype(np.int32)
        size = counts[-1] // self.classes
        self.tau = config.tau or max(size ** 0.5 / 3.5, 0.5)
        self.rng = np.random.default_rng([config.seed, 1])
        self.epoch, self.ticks, self.wiring_ticks = 0, 0, 0
        self.progress: list[tuple[int, float, float, float]] = []

    def _useful(self):
        """Bits for the first layer that are not all but constant on the training rows."""
        if self.front:
            return np.arange(self.bits)  # they are still to be learned
        bits = self._encoded(np.ascontiguousarray(self.codes[self.rows[:20_000]].T))
        mean = bits[:-1].mean(1)
        useful = np.flatnonzero(np.minimum(mean, 1 - mean) > 0.005)
        return useful if len(useful) >= 2 else np.arange(self.bits)

    # One batch

    def _encoded(self, codes):
        """The encoder's bits, uint8 (bits + 1, samples), of codes (features, samples)."""
        bits = np.empty((self.encoder.bits + 1, codes.shape[1]), np.uint8)
        kernels.encode(codes, self.encoder.feature, self.encoder.threshold, bits)
        return bits

    def _batch_bits(self, rows):
        if self.augmented:
            return self._encoded(self._augment(self.raw[rows]))
        return self._encoded(np.ascontiguousarray(self.codes[rows].T))

    def _augment(self, images):
        c, count = self.config, len(images)
        height, width = self.data.image
        pixels = np.empty((height * width, count), np.uint8)
        if not (c.degrees or c.zoom):  # whole pixels stay sharp
            most = int(c.shift)
            by = self.rng.integers(-most, most + 1, (count, 2))
            kernels.shift(images, height, width, by, pixels)
            return self._recode(pixels)
        angle = np.deg2rad(self.rng.uniform(-c.degrees, c.degrees, count))
        zoom = 1 + self.rng.uniform(-c.zoom, c.zoom, (count, 2))
        matrix = np.empty((count, 2, 3), np.float32)
        matrix[:, 0, 0], matrix[:, 0, 1] = np.cos(angle) * zoom[:, 0], -np.sin(angle) * zoom[:, 0]
        matrix[:, 1, 0], matrix[:, 1, 1] = np.sin(angle) * zoom[:, 1], np.cos(angle) * zoom[:, 1]
        matrix[:, :, 2] = self.rng.uniform(-c.shift, c.shift, (count, 2))
        kernels.warp(images, height, width, matrix, pixels)
        return self._recode(pixels)

    def _recode(self, pixels):
        if self.encoder.offset.any() or (self.encoder.step != 1).any():
            return np.ascontiguousarray(self.encoder.codes(pixels.T).T)
        return pixels

    def _forward(self, bits, keep):
        """Outputs of the last layer; ``keep``: update running counts, return all addresses."""
        addresses, inputs = [], []
        if self.front:
            bits = self.front.forward(bits, keep, first=self.ticks == 0)
        for index, layer in enumerate(self.layers):
            addr = np.empty((layer.count, bits.shape[1]), np.uint8)
            last = index == len(self.layers) - 1
            out = np.zeros((layer.count + (not last), bits.shape[1]), np.uint8)
            if keep and layer.family == "bb":  # its bits depend on the batch
                kernels.forward(bits, layer.pins, np.zeros(layer.count, np.uint64), addr, out)
                layer.watch(addr, self.ticks == 0)
            kernels.forward(bits, layer.pins, layer.luts(), addr, out)
            inputs.append(bits)
            addresses.append(addr)
            bits = out
        return bits, addresses, inputs

    def _loss(self, out, target):
        """Loss, correct answers (or squared error), gradient of each group's sum."""
        sums = np.zeros((self.classes, out.shape[1]), np.float32)
        kernels.group_sums(out, self.group, sums)
        return self._head(sums, target)

    def _head(self, sums, target):
        """As :meth:`_loss`, from the sums (classes, samples)."""
        samples = sums.shape[1]
        if self.regression:
            error = (sums[0] - len(self.group) / 2) / self.tau - target
            grad = (2 / self.tau / samples * error)[None]
            return float((error ** 2).mean()), float((error ** 2).sum()), grad.astype(np.float32)
        right = int((sums.argmax(0) == target).sum())
        logits = sums / np.float32(self.tau)
        logits -= logits.max(0)
        p = np.exp(logits)
        p /= p.sum(0)
        column = np.arange(samples)
        loss = float(-np.log(np.maximum(p[target, column], 1e-30)).mean())
        smooth = np.float32(self.config.smooth)
        p -= smooth / self.classes
        p[target, column] -= 1 - smooth
        return loss, right, p * np.float32(1 / self.tau / samples)

    def _backward(self, addresses, inputs, grad, rate, wire):
        rows = self.group
        for index in reversed(range(len(self.layers))):
            layer, addr = self.layers[index], addresses[index]
            learn = wire and layer.scores is not None
            deeper = index > 0 or self.front is not None
            dw, slope, offset = layer.backward(addr, rows, grad, learn or deeper)
            below = None
            if learn or deeper:
                below = np.zeros(inputs[index].shape, np.float32) if deeper else None
                self._pins(layer, addr, rows, grad, slope, offset, inputs[index], below,
                           learn, rate)
            layer.learn(dw, rate * self.config.rate, self.ticks)
            if below is not None:
                grad, rows = below, np.arange(len(below) - 1, dtype=np.int32)
        if self.front:
            self.front.backward(grad, rate * self.config.rate, self.ticks)

    def _pins(self, layer, addr, rows, grad, slope, offset, bits, below, learn, rate):
        samples = addr.shape[1]
        n = layer.n
        out = np.zeros((samples, n * BLOCK + 8), np.float32)
        columns = out[:, :n * BLOCK]
        signs = bits.astype(np.float32) * 2 - 1 if learn else None
        best = np.empty(n * BLOCK, np.int64)
        new = []
        for block, first in enumerate(range(0, layer.count, BLOCK)):
            part = slice(first, min(first + BLOCK, layer.count))
            kernels.pin_gradient(addr[part], rows[part], grad, slope[part], offset[part], n, out)
            out[:, n * len(addr[part]):] = 0
            if below is not None:
                kernels.scatter_rows(columns, layer.pins, first, below)
            if learn:
                w, m, v = layer.scores[:, block]
                kernels.adam_wiring(w, m, v, signs[layer.pools[block]] @ columns,
                                    rate * self.config.wiring_rate, self.wiring_ticks, best)
                new.append((block, best.copy()))
        for block, chosen in new:
            layer.connect(block, chosen)

    # Epochs

    def step(self) -> tuple[int, float, float, float]:
        """Train one epoch and return its row of ``progress``."""
        with threadpool_limits(1):  # one order of every sum: the same seed gives the same network
            return self._epoch()

    def _epoch(self):
        config = self.config
        order = self.rng.permutation(self.rows)
        size = config.batch or min(256, max(len(order) // 40, 8))
        batches = [order[i:i + size] for i in range(0, len(order), size)]
        loss_sum = right_sum = 0.0
        for number, rows in enumerate(batches):
            done = (self.epoch + number / len(batches)) / config.epochs
            rate = 0.5 * (1 + np.cos(np.pi * done))
            bits = self._batch_bits(rows)
            out, addresses, inputs = self._forward(bits, True)
            loss, right, grad = self._loss(out, self._targets(rows))
            self.ticks += 1
            wire = number % config.wiring_every == 0
            self.wiring_ticks += wire
            self._backward(addresses, inputs, grad, rate, wire)
            loss_sum += loss * len(rows)
            right_sum += right
        self.epoch += 1
        train = right_sum / len(order)
        if self.regression:
            train = 1 - train
        held = self.score(self.codes[self.held], self.data.y_train[self.held]) \
            if len(self.held) else float("nan")
        row = (self.epoch, loss_sum / len(order), train, held)
        self.progress.append(row)
        return row

    def _targets(self, rows):
        y = self.data.y_train[rows]
        return (y - self.centre) / self.spread if self.regression else y

    def sums(self, codes: np.ndarray) -> np.ndarray:
        """Group sums of coded samples, float32 (classes, samples)."""
        parts, size = [], 256 if self.front else 1024
        for first in range(0, len(codes), size):
            part = np.ascontiguousarray(codes[first:first + size].T)
            out = self._forward(self._encoded(part), False)[0]
            sums = np.zeros((self.classes, part.shape[1]), np.float32)
            kernels.group_sums(out, self.group, sums)
            parts.append(sums)
        return np.concatenate(parts, axis=1)

    def score(self, codes: np.ndarray, y: np.ndarray) -> float:
        """Accuracy, or coefficient of determination, of the present network."""
        sums = self.sums(codes)
        if not self.regression:
            return float((sums.argmax(0) == y).mean())
        value = (sums[0] - len(self.group) / 2) / self.tau * self.spread + self.centre
        return float(1 - ((value - y) ** 2).sum() / max(((y - y.mean()) ** 2).sum(), 1e-12))

    def model(self) -> Model:
        """The network as it stands, with Boolean tables."""
        scale, bias = 1.0, 0.0
        if self.regression:
            scale = self.spread / self.tau
            bias = self.centre - len(self.group) / 2 * scale
        return Model(self.pixel if self.front else self.encoder,
                     tuple(layer.layer() for layer in self.layers), self.group, self.classes,
                     scale, bias, self.front.front() if self.front else None)

    # Checkpoints

    def _states(self):
        return [*(self.front.states if self.front else ()), *self.layers]

    def save(self, path) -> None:
        """Everything that :meth:`resume` needs."""
        arrays = {"epoch": self.epoch, "ticks": self.ticks, "wiring_ticks": self.wiring_ticks,
                  "progress": np.array(self.progress, np.float64).reshape(-1, 4),
                  "config": repr(asdict(self.config)),
                  "random": repr(self.rng.bit_generator.state)}
        for index, layer in enumerate(self._states()):
            for name in STATE:
                value = getattr(layer, name)
                if value is not None:
                    arrays[f"{name}_{index}"] = value
        with open(path, "wb") as file:
            np.savez(file, **arrays)

    def resume(self, path) -> None:
        """Continue the run that was saved; its configuration must be this one."""
        with np.load(path, allow_pickle=False) as file:
            if str(file["config"]) != repr(asdict(self.config)):
                raise ValueError("the checkpoint must be of the same configuration, not of "
                                 f"{file['config']}")
            self.epoch, self.ticks = int(file["epoch"]), int(file["ticks"])
            self.wiring_ticks = int(file["wiring_ticks"])
            self.progress = [(int(e), *map(float, rest)) for e, *rest in file["progress"]]
            self.rng.bit_generator.state = ast.literal_eval(str(file["random"]))
            for index, layer in enumerate(self._states()):
                for name in STATE:
                    if f"{name}_{index}" in file:
                        setattr(layer, name, file[f"{name}_{index}"])
