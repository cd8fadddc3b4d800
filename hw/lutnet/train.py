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

from . import kernels, nodes, thermometer
from .data import Dataset, split
from .model import Layer, Model
from .settings import TrainConfig

__all__ = ["TrainConfig", "Trainer"]

BLOCK = 16  # nodes that share a pool of candidates and one matrix product


class _LayerState:
    """Weights, wiring and optimiser of one layer."""

    def __init__(self, config, count, useful, features, learned, narrow, rng):
        n = config.inputs
        self.family, self.n, self.count, self.features = config.family, n, count, features
        self.w = nodes.initial(config.family, count, n, rng)
        self.m, self.v = np.zeros_like(self.w), np.zeros_like(self.w)
        self.seen = np.ones((count, 2 ** n), np.float32)  # running address counts, for `bb`
        self.narrow = narrow
        self.scores = None
        if learned:
            size = min(config.candidates or len(useful), len(useful))
            starts = range(0, count, BLOCK)
            whole = size == len(useful)
            self.pools = [useful if whole else np.sort(rng.choice(useful, size, False))
                          for _ in starts]
            self.scores = np.zeros((3, len(starts), size, n * BLOCK), np.float32)
            self.scores[0] = rng.random((len(starts), size, n * BLOCK), np.float32)
            self.pins = np.zeros((count, n), np.int32)
            for b in range(len(starts)):
                self.connect(b, self.scores[0, b].argmax(0))
        else:  # every input is read equally often, give or take one
            times = -(-count * n // len(useful))
            drawn = np.concatenate([rng.permutation(useful) for _ in range(times)])
            self.pins = drawn[:count * n].reshape(count, n).astype(np.int32)
            self.pins[self.narrow, n - 1] = features

    def connect(self, block, best):
        first = block * BLOCK
        last = min(first + BLOCK, self.count)
        chosen = self.pools[block][best].reshape(BLOCK, self.n)[:last - first]
        self.pins[first:last] = chosen
        self.pins[self.narrow, self.n - 1] = self.features  # the constant

    def bits(self):
        return nodes.bits_of(self.family, self.w, self.seen)

    def luts(self):
        packed = np.zeros((self.count, 8), np.uint8)
        raw = np.packbits(self.bits(), axis=1, bitorder="little")
        packed[:, :raw.shape[1]] = raw
        return packed.view(np.uint64)[:, 0]


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
        rng = np.random.default_rng(config.seed)
        useful = self._useful()
        self.layers = []
        for index, count in enumerate(counts):
            last = index == len(counts) - 1
            narrow = np.zeros(count, bool)
            if last and config.narrow:
                size = count // self.classes
                inside = np.arange(count) % size
                narrow = inside >= size - round(config.narrow * size)
            self.layers.append(_LayerState(
                config, count, useful, self.encoder.bits if index == 0 else counts[index - 1],
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
        """Encoder bits that are not all but constant on the training rows."""
        sample = self.codes[self.rows[:20_000]].T
        bits = np.empty((self.encoder.bits + 1, sample.shape[1]), np.uint8)
        kernels.encode(np.ascontiguousarray(sample), self.encoder.feature,
                       self.encoder.threshold, bits)
        mean = bits[:-1].mean(1)
        useful = np.flatnonzero(np.minimum(mean, 1 - mean) > 0.005)
        return useful if len(useful) >= 2 else np.arange(self.encoder.bits)

    # One batch

    def _batch_bits(self, rows):
        if self.augmented:
            codes = self._augment(self.raw[rows])
        else:
            codes = np.ascontiguousarray(self.codes[rows].T)
        bits = np.empty((self.encoder.bits + 1, len(rows)), np.uint8)
        kernels.encode(codes, self.encoder.feature, self.encoder.threshold, bits)
        return bits

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
        for index, layer in enumerate(self.layers):
            addr = np.empty((layer.count, bits.shape[1]), np.uint8)
            last = index == len(self.layers) - 1
            out = np.zeros((layer.count + (not last), bits.shape[1]), np.uint8)
            if keep and layer.family == "bb":  # its bits depend on the batch
                kernels.forward(bits, layer.pins, np.zeros(layer.count, np.uint64), addr, out)
                zero = np.zeros((1, bits.shape[1]), np.float32)
                total = np.empty_like(layer.w)
                count = np.empty(layer.w.shape, np.int32)
                kernels.address_sums(addr, np.zeros(layer.count, np.int32), zero, total, count)
                if self.ticks == 0:
                    layer.seen = count.astype(np.float32)
                layer.seen = (0.9 * layer.seen + 0.1 * count).astype(np.float32)
            kernels.forward(bits, layer.pins, layer.luts(), addr, out)
            inputs.append(bits)
            addresses.append(addr)
            bits = out
        return bits, addresses, inputs

    def _loss(self, out, target):
        """Loss, correct answers (or squared error), gradient of each group's sum."""
        sums = np.zeros((self.classes, out.shape[1]), np.float32)
        kernels.group_sums(out, self.group, sums)
        samples = out.shape[1]
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
            total = np.empty_like(layer.w)
            count = np.empty(layer.w.shape, np.int32)
            kernels.address_sums(addr, rows, grad, total, count)
            learn = wire and layer.scores is not None
            dw, slope, offset = nodes.backward_tables(layer.family, layer.w, total, count,
                                                      want_slope=learn or index > 0)
            if learn or index > 0:
                below = np.zeros(inputs[index].shape, np.float32) if index else None
                self._pins(layer, addr, rows, grad, slope, offset, inputs[index], below,
                           learn, rate)
            low = 0.0 if layer.family == "bb" else -1.0
            kernels.adam(layer.w.reshape(-1), layer.m.reshape(-1), layer.v.reshape(-1),
                         dw.reshape(-1), rate * self.config.rate, self.ticks,
                         np.float32(low), np.float32(1))
            if index:
                grad, rows = below, np.arange(len(below) - 1, dtype=np.int32)

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
        parts = []
        for first in range(0, len(codes), 1024):
            part = np.ascontiguousarray(codes[first:first + 1024].T)
            bits = np.empty((self.encoder.bits + 1, part.shape[1]), np.uint8)
            kernels.encode(part, self.encoder.feature, self.encoder.threshold, bits)
            out = self._forward(bits, False)[0]
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
        layers = []
        for layer in self.layers:
            pins = np.where(layer.pins == layer.features, -1, layer.pins)
            layers.append(Layer(pins, layer.bits()))
        scale, bias = 1.0, 0.0
        if self.regression:
            scale = self.spread / self.tau
            bias = self.centre - len(self.group) / 2 * scale
        return Model(self.encoder, tuple(layers), self.group, self.classes, scale, bias)

    # Checkpoints

    def save(self, path) -> None:
        """Everything that :meth:`resume` needs."""
        arrays = {"epoch": self.epoch, "ticks": self.ticks, "wiring_ticks": self.wiring_ticks,
                  "progress": np.array(self.progress, np.float64).reshape(-1, 4),
                  "config": repr(asdict(self.config)),
                  "random": repr(self.rng.bit_generator.state)}
        for index, layer in enumerate(self.layers):
            for name in ("w", "m", "v", "seen", "pins", "scores"):
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
            for index, layer in enumerate(self.layers):
                for name in ("w", "m", "v", "seen", "pins", "scores"):
                    if f"{name}_{index}" in file:
                        setattr(layer, name, file[f"{name}_{index}"])
