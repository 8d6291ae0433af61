"""The pictures of docs/QUANTIZATION.md: SVG files that need nothing else, readable on light and dark pages."""
import math

from chart import STYLE, text

WIDTH, LEFT, RIGHT, TOP, FLOOR, HEIGHT = 940, 70, 190, 70, 500, 560
MORE = """
.dot { fill: #0969da } .link { stroke: #8c959f; stroke-width: .7; fill: none } .rule { stroke: #d0d7de; stroke-width: .7 }
.four { fill: #bc4c00 }
@media (prefers-color-scheme: dark) { .dot { fill: #4493f8 } .four { fill: #db6d28 } .rule { stroke: #3d444d } }
"""


def opened(height, title, words):
    return [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
            f"<title>{title}</title>", f"<style>{STYLE}{MORE}</style>",
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" class="page"/>',
            text(20, 28, title, "head"), text(20, 48, words, "soft")]


def ticks(low, high):
    """1, 2, 5 times powers of ten from low to high."""
    return [m * 10.0**e for e in range(-9, 3) for m in (1, 2, 5) if low <= m * 10.0**e <= high]


def apart(places, gap, floor):
    """Labels at wished heights, moved as little as makes them `gap` apart; none below floor."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    out = list(places)
    for a, b in zip(order, order[1:]):
        out[b] = max(out[b], out[a] + gap)
    limit = floor
    for i in reversed(order):
        out[i] = min(out[i], limit)
        limit = out[i] - gap
    return out


def loss_svg(rows, master):
    """Bits a weight to the right, mean KL divergence upwards by its logarithm; names at the right edge."""
    points = [(got["row"], got[master]["bits"], got[master]["kld_mean"]) for got in rows
              if got.get(master, {}).get("kld_mean", 0) > 0]
    parts = opened(HEIGHT, "What bits buy", f"mean KL divergence from FP32 against bits a weight, {master} master; lower is truer")
    if not points:
        return "\n".join([*parts, "</svg>"]) + "\n"
    low, high = (f(k for _, _, k in points) * m for f, m in ((min, 0.85), (max, 1.15)))
    least, most = min(b for _, b, _ in points) - 0.3, max(b for _, b, _ in points) + 0.3

    def x_of(bits):
        return LEFT + (WIDTH - LEFT - RIGHT) * (bits - least) / (most - least)

    def y_of(kld):
        return FLOOR - (FLOOR - TOP) * math.log(kld / low) / math.log(high / low)
    for value in ticks(low, high):
        parts += [f'<path class="rule" d="M{LEFT} {y_of(value):.1f}H{WIDTH - RIGHT}"/>',
                  text(LEFT - 8, y_of(value) + 4, f"{value:g}", "soft", "end")]
    for bits in range(math.ceil(least), math.floor(most) + 1):
        parts += [f'<path class="line" d="M{x_of(bits):.1f} {FLOOR}v5"/>', text(x_of(bits), FLOOR + 20, bits, "soft", "middle")]
    parts += [f'<path class="line" d="M{LEFT} {FLOOR}H{WIDTH - RIGHT}"/>',
              text((LEFT + WIDTH - RIGHT) / 2, FLOOR + 42, "bits a weight, scales and zero points counted", "soft", "middle")]
    heights = apart([y_of(k) for _, _, k in points], 15, FLOOR)
    for (name, bits, kld), y in zip(points, heights):
        css = "four" if name.startswith("int4") else "dot"
        parts += [f'<path class="link" d="M{x_of(bits) + 4:.1f} {y_of(kld):.1f}L{WIDTH - RIGHT + 4} {y:.1f}"/>',
                  f'<circle class="{css}" cx="{x_of(bits):.1f}" cy="{y_of(kld):.1f}" r="4"/>',
                  text(WIDTH - RIGHT + 8, y + 4, f"{name}  {kld:.2g}")]
    return "\n".join([*parts, "</svg>"]) + "\n"


# The example of docs/QUANTIZATION.md: eight weights.
WEIGHTS = (0.9, -0.31, 0.05, 0.42, -0.12, 0.66, -0.04, 0.27)


def line_of(parts, y, low, step, zero, levels, what):
    """A number line: grid lines where integers are, the weights above, arrows to where they go."""
    span = (-0.98, 1.0)

    def x_of(value):
        return 30 + (WIDTH - 60) * (value - span[0]) / (span[1] - span[0])
    parts.append(text(20, y - 46, what))
    parts.append(f'<path class="line" d="M30 {y}H{WIDTH - 30}"/>')
    for q in levels:
        x = x_of(step * (q - zero))
        parts += [f'<path class="line" d="M{x:.1f} {y - 5}v10"/>', text(x, y + 22, q, "soft", "middle")]
    for w in WEIGHTS:
        q = min(max(round(w / step + zero), levels[0]), levels[-1])
        parts += [f'<path class="link" d="M{x_of(w):.1f} {y - 22}L{x_of(step * (q - zero)):.1f} {y - 6}"/>',
                  f'<circle class="dot" cx="{x_of(w):.1f}" cy="{y - 25}" r="4"/>']
    return parts


def grid_svg():
    parts = opened(300, "Eight weights on a grid of 4 bits", "dots: weights; ticks: what 16 levels can be; lines: where each goes")
    top, low, high = max(WEIGHTS), min(WEIGHTS), max(WEIGHTS)
    line_of(parts, 140, low, top / 7, 0, range(-7, 8), "symmetric: 0 is 0, both sides alike: the left half is hardly used")
    step = (high - low) / 15
    line_of(parts, 250, low, step, -8 - round(low / step), range(-8, 8), "affine: a zero point moves the grid to where the weights are")
    return "\n".join([*parts, "</svg>"]) + "\n"
