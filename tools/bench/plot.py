# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG: lines over a logarithmic number of connections. Small, and without any library."""
import math
import os
from xml.sax.saxutils import escape

import measure

FOLDER = os.path.join(measure.SOURCE_DIR, "docs", "plots")
WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 90, 190, 40, 50
LABEL = 45  # the least distance of two labels on the x axis
# Told apart also by those who do not see all colours (Okabe and Ito), and by their markers.
COLORS = ["#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#7a5c00"]


def nice_step(most):
    """A step of 1, 2 or 5 times a power of ten, some five of which make `most`."""
    power = 10 ** math.floor(math.log10(most / 5))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * 5 >= most)


class Axes:
    """From figures to places on the picture."""

    def __init__(self, xs, most):
        self.low, self.high = math.log10(min(xs)), math.log10(max(xs))
        self.step = nice_step(most)
        self.most = math.ceil(most / self.step) * self.step

    def x(self, value):
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(value) - self.low) / (self.high - self.low or 1)

    def y(self, value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self.most


def text(x, y, words, anchor="middle", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(words)}</text>'


def grid(axes, xs, x_title, y_title):
    parts = []
    labelled = []
    for value in reversed(xs):
        if not labelled or axes.x(labelled[-1]) - axes.x(value) >= LABEL:
            labelled.append(value)
    for value in xs:
        parts.append(f'<line x1="{axes.x(value):.1f}" y1="{TOP}" x2="{axes.x(value):.1f}" y2="{HEIGHT - BOTTOM}" '
                     'stroke="#eeeeee"/>')
        if value in labelled:
            parts.append(text(axes.x(value), HEIGHT - BOTTOM + 18, f"{value:,}"))
    for i in range(round(axes.most / axes.step) + 1):
        value = i * axes.step
        parts.append(f'<line x1="{LEFT}" y1="{axes.y(value):.1f}" x2="{WIDTH - RIGHT}" y2="{axes.y(value):.1f}" '
                     'stroke="#dddddd"/>')
        parts.append(text(LEFT - 8, axes.y(value) + 4, f"{value:,.6g}", "end"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_title))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(text(18, middle, y_title, extra=f'transform="rotate(-90 18 {middle:.0f})"'))
    return parts


def line(axes, number, title, points):
    """points: (x, low, middle, high); the quartiles are a whisker."""
    color = COLORS[number % len(COLORS)]
    dashes = ' stroke-dasharray="6 3"' if number >= len(COLORS) else ""
    path = " ".join(f"{axes.x(x):.1f},{axes.y(middle):.1f}" for x, _, middle, _ in points)
    parts = ['<g clip-path="url(#inside)">',
             f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dashes}/>']
    for x, low, middle, high in points:
        parts.append(f'<line x1="{axes.x(x):.1f}" y1="{axes.y(low):.1f}" x2="{axes.x(x):.1f}" y2="{axes.y(high):.1f}" '
                     f'stroke="{color}"/>')
        parts.append(f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(middle):.1f}" r="3" fill="{color}"/>')
    parts.append("</g>")
    y = TOP + 10 + 20 * number
    parts.append(f'<line x1="{WIDTH - RIGHT + 14}" y1="{y}" x2="{WIDTH - RIGHT + 38}" y2="{y}" stroke="{color}" '
                 f'stroke-width="2"{dashes}/>')
    parts.append(text(WIDTH - RIGHT + 44, y + 4, title, "start"))
    return parts


def draw(title, x_title, y_title, lines):
    """
    lines: {title: [(x, low, middle, high), ...]}, the base first. Answers the SVG. What is more than three times as high
    as the base ever is leaves the picture at its top, so that one that does not scale leaves room for the others.
    """
    points = [point for series in lines.values() for point in series]
    xs = sorted({point[0] for point in points})
    base = next(iter(lines.values()))
    axes = Axes(xs, min(max(point[3] for point in points), 3 * max(point[3] for point in base)) or 1)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
             f'height="{HEIGHT}" font-family="sans-serif" font-size="12" role="img">',
             f"<title>{escape(title)}</title>",
             f'<clipPath id="inside"><rect x="{LEFT - 5}" y="{TOP}" width="{WIDTH - LEFT - RIGHT + 10}" '
             f'height="{HEIGHT - TOP - BOTTOM + 5}"/></clipPath>',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
             text((LEFT + WIDTH - RIGHT) / 2, 22, title, extra='font-weight="bold"')]
    parts += grid(axes, xs, x_title, y_title)
    for number, (name, series) in enumerate(lines.items()):
        parts += line(axes, number, name, series)
    return "\n".join([*parts, "</svg>", ""])


def write(name, *arguments):
    """Draws into docs/plots/NAME.svg; answers the picture's link for the document."""
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, f"{name}.svg"), "w", encoding="utf-8") as file:
        file.write(draw(*arguments))
    return f"![{arguments[0]}](plots/{name}.svg)"
