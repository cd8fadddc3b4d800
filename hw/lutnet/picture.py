"""Accuracy against LUTs, ours and the published points, as SVG text."""

from math import log10

__all__ = ["PUBLISHED", "picture"]

# MNIST: method, LUT, accuracy in %, whether the encoder is in the count. arXiv:2410.11112 (DWN),
# dwn-fpga-study, arXiv:2504.00592 (NeuraLUT-Assemble), arXiv:2501.01511 (TreeLUT), KANELÉ.
PUBLISHED = (
    ("DWN", 692, 97.1, False), ("DWN", 1413, 97.9, False), ("DWN", 2055, 97.8, False),
    ("DWN", 4082, 98.3, False),
    ("dwn-fpga-study", 1597, 96.77, True), ("dwn-fpga-study", 2246, 97.70, True),
    ("dwn-fpga-study", 3464, 97.76, True), ("dwn-fpga-study", 6294, 98.26, True),
    ("NeuraLUT-Assemble", 5070, 97.9, True), ("TreeLUT", 4478, 96.6, True),
    ("TreeLUT", 3499, 95.6, True), ("KANELÉ", 3809, 96.3, True),
)

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 440, 60, 50
LUTS, ACCURACY = (500, 8000), (95.0, 99.0)


def _place(lut: float, accuracy: float) -> tuple[float, float]:
    x = (log10(lut) - log10(LUTS[0])) / (log10(LUTS[1]) - log10(LUTS[0]))
    y = (accuracy - ACCURACY[0]) / (ACCURACY[1] - ACCURACY[0])
    return LEFT + x * (WIDTH - LEFT - 20), HEIGHT - BOTTOM - y * (HEIGHT - BOTTOM - 20)


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def picture(rows: list[tuple[str, int, float, bool]]) -> str:
    """SVG of ``rows`` (name, LUT, accuracy in %, with the encoder) beside :data:`PUBLISHED`.

    Ours are filled; circles are cores, squares are totals. Points outside the frame are left out.
    """
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
             'font-family="sans-serif" font-size="11">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for lut in (500, 1000, 2000, 4000, 8000):
        x, y = _place(lut, ACCURACY[0])
        parts += [f'<path d="M{x:.1f} {y:.1f}V20" stroke="#ddd"/>',
                  _text(x, y + 16, str(lut), "middle")]
    for accuracy in (95, 96, 97, 98, 99):
        x, y = _place(LUTS[0], accuracy)
        parts += [f'<path d="M{x:.1f} {y:.1f}H{WIDTH - 20}" stroke="#ddd"/>',
                  _text(x - 6, y + 4, f"{accuracy} %", "end")]
    parts.append(_text(WIDTH / 2, HEIGHT - 12, "LUT (circle: core, square: with encoder)",
                       "middle"))
    for ours, points in ((False, PUBLISHED), (True, rows)):
        for name, lut, accuracy, total in points:
            if not (LUTS[0] <= lut <= LUTS[1] and ACCURACY[0] <= accuracy <= ACCURACY[1]):
                continue
            x, y = _place(lut, accuracy)
            paint = 'fill="#06c"' if ours else 'fill="none" stroke="#888" stroke-width="1.5"'
            parts.append(f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" {paint}/>'
                         if total else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" {paint}/>')
            parts.append(_text(x + 8, y - 5, name))
    return "\n".join([*parts, "</svg>"]) + "\n"
