"""The report as one HTML page: everything is in it, pictures are SVG, nothing is fetched."""

import math
from html import escape

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hw.compiler.report import PARTS

__all__ = ["page"]

_LABELS = {"load": "LOAD", "fill": "LOAD acc", "gemm": "GEMM", "alu": "ALU", "store": "STORE"}
_CAUSES = {  # of a cycle, in the order in which they are drawn: text, class of its colour
    "busy":         ("works", "busy"),
    "memory":       ("waits for DRAM", "memory"),
    "wait_load":    ("waits for a token of LOAD", "load"),
    "wait_compute": ("waits for a token of compute", "gemm"),
    "wait_store":   ("waits for a token of STORE", "store"),
    "hazard":       ("waits for another engine's accumulators", "alu"),
    "bank":         ("waits for a bank of the accumulators", "fill"),
    "order":        ("its next instruction has no room yet", "order"),
    "start":        ("its next instruction is being prepared", "start"),
    "idle":         ("has no next instruction", "idle"),
}
_WIDTH, _MARGIN, _ROW = 1100, 76, 26
_BINS = 1000
_DETAIL = 4000  # cycles of the second timeline


def page(report: dict) -> str:
    """HTML of a dictionary that :func:`hw.compiler.report.report` made."""
    environment = Environment(loader=PackageLoader("hw.compiler"), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"count": _count, "bytes": _bytes, "percent": _percent,
                            "three": _three, "brief": _brief}
    middle = _middle(report)
    return environment.get_template("report.html").render(
        r=report, causes=_CAUSES, labels=_LABELS, waits=_waits(report),
        timeline=_timeline(report, 0, report["cycles"]),
        detail=_timeline(report, *middle) if report["cycles"] > 2 * _DETAIL else "",
        window=middle, roofline=_roofline(report), memory=_memory(report))


def _count(value) -> str:
    return f"{value:,.0f}"


def _brief(name: str, most: int = 22) -> str:
    """What tells most of a converter's name: the end of its first part."""
    name = "/".join(name.split(";")[0].split("/")[-2:])
    return name if len(name) <= most else "…" + name[1 - most:]


def _three(value) -> str:
    """Three digits, without an exponent."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def _percent(value) -> str:
    return f"{100 * value:.1f} %"


def _bytes(value) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size:
            digits = max(0, 2 - int(math.log10(value / size)))
            return f"{value / size:.{0 if value % size == 0 else digits}f} {unit}"
    return f"{value:.0f} B"


# SVG

def _tag(name: str, content: str = "", **attributes) -> str:
    text = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
                   for key, value in attributes.items())
    return f"<{name}{text}>{content}</{name}>" if content else f"<{name}{text}/>"


def _short(value) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _rect(x, y, width, height, kind, title="", **more) -> str:
    return _tag("rect", _tag("title", escape(title)) if title else "", x=float(x), y=float(y),
                width=float(width), height=float(height), class_=kind, **more)


def _text(x, y, text, kind="", anchor="start") -> str:
    return _tag("text", escape(text), x=float(x), y=float(y), class_=kind, text_anchor=anchor)


def _line(x1, y1, x2, y2, kind) -> str:
    return _tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=kind)


def _svg(height, *parts, label="", width=_WIDTH) -> Markup:
    return Markup(_tag("svg", "".join(parts), viewBox=f"0 0 {width} {_short(float(height))}",
                       role="img", aria_label=label))


def _ticks(low: float, high: float, count: int = 8) -> list[float]:
    step = 10 ** math.floor(math.log10(max(high - low, 1) / count))
    step = next(step * n for n in (1, 2, 5, 10) if (high - low) / (step * n) <= count)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _core_layers(report) -> list[dict]:
    return [layer for layer in report["layers"] if layer["place"] == "core"]


# Timeline

def _middle(report) -> tuple[int, int]:
    """A piece of the longest layer."""
    layers = _core_layers(report)
    if not layers:
        return 0, 1
    longest = max(layers, key=lambda layer: layer["cycles"])
    centre = (longest["begin"] + longest["end"]) // 2
    begin = max(0, min(centre - _DETAIL // 2, report["cycles"] - _DETAIL))
    return begin, min(report["cycles"], begin + _DETAIL)


def _timeline(report, begin: int, end: int) -> Markup:
    """What each part does from cycle ``begin`` to ``end``: each instruction, or how busy it is."""
    if end <= begin:
        return Markup("")
    scale = (_WIDTH - _MARGIN - 4) / (end - begin)
    parts, top = [], 34

    def at(cycle):
        return _MARGIN + (cycle - begin) * scale

    for number, layer in enumerate(report["layers"]):
        if layer["place"] != "core":
            continue
        x1, x2 = at(max(layer["begin"], begin)), at(min(layer["end"], end))
        if x2 <= x1:
            continue
        parts.append(_rect(x1, 4, x2 - x1, 22, f"band{number % 2}",
                           f"{layer['name']} ({layer['operators']}): {layer['cycles']:,} cycles"))
        text = f"{number} {_brief(layer['name'])}"
        if x2 - x1 > 6.5 * len(text) + 8:
            parts.append(_text((x1 + x2) / 2, 19, text, "small", "middle"))
        elif x2 - x1 > 18:
            parts.append(_text((x1 + x2) / 2, 19, str(number), "small", "middle"))
    for row, part in enumerate(PARTS):
        y = top + row * (_ROW + 6)
        parts += [_text(_MARGIN - 8, y + 17, _LABELS[part], "", "end"),
                  _rect(_MARGIN, y, _WIDTH - _MARGIN - 4, _ROW, "track")]
        spans = [span for span in report["timeline"][part] if span[1] > begin and span[0] < end]
        if len(spans) <= 600:
            parts += [_rect(at(max(a, begin)), y, max((min(b, end) - max(a, begin)) * scale, 0.6),
                            _ROW, f"{part} edge", f"instruction {index}: cycles {a:,} to {b - 1:,}")
                      for a, b, index in spans]
        else:
            parts += _density(spans, begin, end, y, part)
    bottom = top + len(PARTS) * (_ROW + 6)
    for tick in _ticks(begin, end):
        parts += [_line(at(tick), top - 2, at(tick), bottom, "grid"),
                  _text(at(tick), bottom + 14, f"{tick:,.0f}", "small", "middle")]
    return _svg(bottom + 22, *parts, label="timeline of the units")


def _density(spans, begin, end, y, part) -> list[str]:
    """How much of each small piece of time the spans (disjoint, in order) fill."""
    edges = np.linspace(begin, end, _BINS + 1)
    points = np.array([[a, b] for a, b, _ in spans], float).ravel()
    filled = np.concatenate([[0], np.cumsum(np.diff(points) * (np.arange(len(points) - 1) % 2
                                                               == 0))])
    share = np.diff(np.interp(edges, points, filled)) / (edges[1] - edges[0])
    level = np.rint(share * 10).astype(int)
    starts = np.flatnonzero(np.diff(level, prepend=-1))
    width = (_WIDTH - _MARGIN - 4) / _BINS
    return [_rect(_MARGIN + a * width, y, (b - a) * width, _ROW, part, fill_opacity=level[a] / 10)
            for a, b in zip(starts, [*starts[1:], _BINS]) if level[a]]


# Where the cycles go

def _waits(report) -> list[dict]:
    """For each part: its name and bar, and the shares of the cycles."""
    rows = []
    for part, row in report["causes"].items():
        total, x, bar = sum(row.values()), 0.0, []
        for cause, (text, kind) in _CAUSES.items():
            share = row.get(cause, 0) / total if total else 0
            if share > 0.0005:
                bar.append(_rect(x, 0, share * 1000, 22, f"cause-{kind}",
                                 f"{text}: {row[cause]:,} cycles, {100 * share:.1f} %"))
            x += share * 1000
        rows.append({"name": _LABELS[part], "busy": row.get("busy", 0) / total if total else 0,
                     "bar": Markup(_tag("svg", "".join(bar), viewBox="0 0 1000 22",
                                        preserveAspectRatio="none", class_="bar"))})
    return rows


# Roofline

def _roofline(report) -> Markup:
    """MACs per cycle over MACs per byte, logarithmic, with the array's and the bus's limits."""
    layers = [layer for layer in _core_layers(report) if layer["macs"] and layer["cycles"]]
    if not layers:
        return Markup("")
    peak, bus = report["macs_per_cycle"], report["memory"]["bus_bits"] / 8
    config = report["config"]
    diagonal = (1 << config["LOG_BATCH"]) * (1 << config["LOG_BLOCK"])
    xs = [layer["macs_per_byte"] for layer in layers]
    ys = [layer["macs"] / layer["cycles"] for layer in layers]
    low_x = 10 ** math.floor(math.log10(min(min(xs), peak / bus / 4)))
    high_x = 10 ** math.ceil(math.log10(max(max(xs), peak / bus * 4)))
    low_y = 10 ** math.floor(math.log10(min(min(ys), diagonal / 2)))
    high_y = peak * 2
    width, height, left = 720, 380, 58

    def x_at(value):
        return left + (width - left - 16) * math.log(value / low_x) / math.log(high_x / low_x)

    def y_at(value):
        return height - 40 - (height - 60) * math.log(value / low_y) / math.log(high_y / low_y)

    parts = []
    for n in range(round(math.log10(low_x)), round(math.log10(high_x)) + 1):
        parts += [_line(x_at(10.0 ** n), 20, x_at(10.0 ** n), height - 40, "grid"),
                  _text(x_at(10.0 ** n), height - 24, f"{10.0 ** n:g}", "small", "middle")]
    for n in range(round(math.log10(low_y)), math.floor(math.log10(high_y)) + 1):
        parts += [_line(left, y_at(10.0 ** n), width - 16, y_at(10.0 ** n), "grid"),
                  _text(left - 6, y_at(10.0 ** n) + 4, f"{10.0 ** n:g}", "small", "end")]
    ridge = peak / bus
    start = max(low_x, low_y / bus)
    parts += [_line(x_at(start), y_at(start * bus), x_at(ridge), y_at(peak), "roof"),
              _line(x_at(ridge), y_at(peak), x_at(high_x), y_at(peak), "roof"),
              _text(width - 20, y_at(peak) - 6, f"{peak} MACs per cycle", "small", "end"),
              _line(x_at(diagonal / bus), y_at(diagonal), x_at(high_x), y_at(diagonal), "dashed"),
              _text(width - 20, y_at(diagonal) - 6, f"depthwise, {diagonal}", "small", "end"),
              _text((left + width) / 2, height - 6, "MACs per byte moved", "small", "middle"),
              _text(left, 12, "MACs per cycle", "small")]
    most = max(layer["cycles"] for layer in layers)
    for layer, x, y in zip(layers, xs, ys):
        title = (f"{layer['name']} ({layer['operators']}): {y:.1f} MACs per cycle, "
                 f"{100 * layer['utilisation']:.1f} %, {layer['cycles']:,} cycles")
        parts.append(_tag("circle", _tag("title", escape(title)), cx=x_at(x), cy=y_at(y),
                          r=4 + 7 * math.sqrt(layer["cycles"] / most), class_="dot"))
    return _svg(height, *parts, label="roofline", width=width)


# Memory

def _memory(report) -> Markup:
    """Address over layers: a rectangle for each tensor, as long as it is needed."""
    found = report["memory_map"]
    if not found["tensors"]:
        return Markup("")
    height, left = 300, 92
    step = (_WIDTH - left - 8) / found["layers"]
    top = max(found["peak"], found["bound"])

    def y_at(address):
        return height - 30 - (height - 44) * address / top

    parts = [_rect(left, 14, _WIDTH - left - 8, height - 44, "track")]
    step_bytes = 1 << max(0, math.ceil(math.log2(top / 6)))
    for tick in range(0, top + 1, step_bytes):
        parts += [_line(left, y_at(tick), _WIDTH - 8, y_at(tick), "grid"),
                  _text(left - 6, y_at(tick) + 4, _bytes(tick), "small", "end")]
    for n, tensor in enumerate(found["tensors"]):
        x, y = left + tensor["first"] * step, y_at(tensor["address"] + tensor["size"])
        wide = (tensor["last"] - tensor["first"] + 1) * step
        tall = max(y_at(tensor["address"]) - y, 1)
        parts.append(_rect(x, y, wide, tall, f"tensor{n % 5} edge",
                           f"{tensor['name']}: {_bytes(tensor['size'])} from "
                           f"{tensor['address']:#x}, layers {tensor['first']} to "
                           f"{tensor['last']}"))
        text = _brief(tensor["name"])
        if tall > 13 and wide > 6.5 * len(text) + 6:
            parts.append(_text(x + wide / 2, y + tall / 2 + 4, text, "small", "middle"))
    for number in range(0, found["layers"], max(1, -(-found["layers"] // 30))):
        parts.append(_text(left + (number + 0.5) * step, height - 14, str(number), "small",
                           "middle"))
    parts += [_line(left, y_at(found["bound"]), _WIDTH - 8, y_at(found["bound"]), "bound"),
              _text(_WIDTH - 12, y_at(found["bound"]) - 5, "most bytes alive at one layer", "small",
                    "end")]
    return _svg(height, *parts, label="memory map")
