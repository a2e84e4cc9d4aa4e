"""The figures of rope.md, as SVG: the same bytes from every run."""

import math
from collections.abc import Callable, Iterable, Sequence

from . import lanes, rules
from .rules import Series

INK, PAPER, GRID = "#222222", "#ffffff", "#cccccc"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def text(x: float, y: float, words: str, anchor: str = "middle", size: int = 13, colour: str = INK) -> str:
    """Return a line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{words}</text>'


def line(points: Iterable[tuple[float, float]], colour: str, width: float = 1.5, dash: str = "") -> str:
    """Return a line through points."""
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="{width}"{dashed}/>'


def arc(start: tuple[float, float], end: tuple[float, float], radius: float, colour: str, clockwise: bool) -> str:
    """Return a part of a circle."""
    (x0, y0), (x1, y1) = start, end
    path = f"M {x0:.1f} {y0:.1f} A {radius:.1f} {radius:.1f} 0 0 {int(clockwise)} {x1:.1f} {y1:.1f}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def drawing(width: int, height: int, title: str, parts: Iterable[str]) -> bytes:
    """Return a drawing on white, so that it shows on a dark page too."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" role="img">'
    )
    paper = f'<rect width="{width}" height="{height}" fill="{PAPER}"/>'
    return "\n".join([head, f"<title>{title}</title>", paper, *parts, "</svg>", ""]).encode()


def pairings() -> bytes:
    """Return which lanes form a pair, for eight lanes."""
    size, left, parts = 48, 240, []
    shown: tuple[tuple[str, str, lanes.Lanes, lanes.Lanes | None], ...] = (
        ("half_split", "", lanes.block("half_split", 8, 0), None),
        ("interleaved", "", lanes.block("interleaved", 8, 0), None),
        ("half_split", "rotary_dim 4, lane_offset 4", lanes.block("half_split", 4, 4), None),
        ("half_split, axis_blocks", "sections 2, 2", lanes.blocks("half_split", [2, 2], 0), None),
        ("interleaved", "out_pairing half_split", lanes.block("interleaved", 8, 0), lanes.block("half_split", 8, 0)),
    )
    for number, (name, more, read, written) in enumerate(shown):
        top = 66 + 96 * number
        parts += [text(20, top + 20, name, "start"), text(20, top + 38, more, "start", 12)]
        parts += boxes(left, top, size, read)
        if written is None:
            parts += [arch(left, top, size, pair, COLOURS[j]) for j, pair in enumerate(read)]
        else:
            parts += boxes(left, top + 76, size, written)
            parts += [
                line([(left + (r + 0.5) * size, top + 30), (left + (w + 0.5) * size, top + 76)], COLOURS[j])
                for j, (one, other) in enumerate(zip(read, written, strict=True))
                for r, w in zip(one, other, strict=True)
            ]
    parts.append(text(left + 4 * size, 20, "lanes 0 to 7; a colour is a pair, grey lanes pass through", size=12))
    return drawing(650, 570, "Which lanes form a pair, for eight lanes", parts)


def boxes(left: float, top: float, size: float, pairs: lanes.Lanes) -> list[str]:
    """Return eight lanes, coloured by pair."""
    colours = {lane: COLOURS[j] for j, pair in enumerate(pairs) for lane in pair}
    drawn = []
    for lane in range(8):
        fill, x = colours.get(lane, GRID), left + lane * size
        drawn.append(f'<rect x="{x:.1f}" y="{top}" width="{size}" height="30" fill="{fill}" stroke="{PAPER}"/>')
        drawn.append(text(x + size / 2, top + 20, str(lane), colour=PAPER if lane in colours else INK))
    return drawn


def arch(left: float, top: float, size: float, pair: tuple[int, int], colour: str) -> str:
    """Return an arch above the lanes of a pair."""
    first, second = (left + (lane + 0.5) * size for lane in pair)
    rise = 7 + 4 * (pair[1] - pair[0])
    path = f"M {first:.1f} {top} Q {(first + second) / 2:.1f} {top - 2 * rise} {second:.1f} {top}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def scaling() -> bytes:
    """Return g_j / f_j by pair for the rules, and Llama 3's bands."""
    pairs, s, trained = 64, 8.0, 8192
    series = Series(pairs, 2 * pairs, 10000.0)
    unscaled = rules.unscaled(series)
    left, top, width, height = 70, 30, 560, 300

    def x(j: float) -> float:
        return left + width * j / (pairs - 1)

    def y(ratio: float) -> float:
        return top + height * math.log(ratio) / math.log(1 / s) * 0.9 + 15

    made: tuple[tuple[str, rules.Scaled], ...] = (
        ("linear", rules.linear(series, factor=s)),
        ("ntk, alpha 8", rules.ntk(series, alpha=s)),
        ("ntk_by_parts", rules.ntk_by_parts(series, factor=s, original_max_position=trained)),
        ("yarn", rules.yarn(series, factor=s, original_max_position=trained)),
        (
            "llama3",
            rules.llama3(series, factor=s, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position=trained),
        ),
    )
    llama = [float(g / f) for g, f in zip(made[-1][1].frequencies, unscaled, strict=True)]
    first, last = (next(j for j, ratio in enumerate(llama) if ratio < edge) for edge in (1.0, 1.0 / s + 1e-9))
    parts = [
        f'<rect x="{x(first - 0.5):.1f}" y="{top}" width="{x(last) - x(first):.1f}" height="{height}" fill="#eeeeee"/>',
        text((x(first) + x(last)) / 2, top - 6, "blends", size=11),
        text(x(first) - 8, top - 6, "llama3 keeps", "end", 11),
        text(x(last), top - 6, "divides", "start", 11),
        line([(left, top), (left, top + height), (left + width, top + height)], INK),
    ]
    for ratio in (1.0, 0.5, 0.25, 0.125):
        parts += [
            line([(left - 4, y(ratio)), (left, y(ratio))], INK),
            text(left - 8, y(ratio) + 4, f"{ratio:g}", "end", 11),
        ]
    for j in (0, 16, 32, 48, 63):
        parts += [
            line([(x(j), top + height), (x(j), top + height + 4)], INK),
            text(x(j), top + height + 18, str(j), size=11),
        ]
    for number, (name, scaled) in enumerate(made):
        ratios = [float(g / f) for g, f in zip(scaled.frequencies, unscaled, strict=True)]
        parts.append(line([(x(j), y(ratio)) for j, ratio in enumerate(ratios)], COLOURS[number], 2))
        at = top + 30 + 20 * number
        parts += [
            line([(left + width + 15, at), (left + width + 40, at)], COLOURS[number], 2),
            text(left + width + 46, at + 4, name, "start", 12),
        ]
    parts.append(
        text(
            left + width / 2,
            top + height + 38,
            "pair j; head_dim 128, base 10000, factor 8, original_max_position 8192",
            size=12,
        )
    )
    parts.append(text(left - 10, 18, "g_j / f_j", "start", 12))
    return drawing(780, 385, "Scaling rules by pair, and the bands that they blend", parts)


def circle() -> bytes:
    """Return how a phase is split into quarter turns and a rest."""
    radius, middle = 130.0, (230.0, 190.0)

    def at(turns: float, away: float = radius) -> tuple[float, float]:
        angle = 2 * math.pi * turns
        return middle[0] + away * math.cos(angle), middle[1] - away * math.sin(angle)

    phase, nearest = 0.795868, 0.75  # F = 1, p = 5: the first worked phase
    parts = [f'<circle cx="{middle[0]}" cy="{middle[1]}" r="{radius}" fill="none" stroke="{GRID}" stroke-width="2"/>']
    for quarter, name in enumerate(("0 or 4", "1", "2", "3")):
        for edge in (quarter / 4 + 1 / 8,):
            parts.append(line([middle, at(edge, radius + 12)], GRID, 1, "4 4"))
        x, y = at(quarter / 4, radius + (34 if quarter % 2 else 58))
        parts += [
            line([at(quarter / 4, radius - 6), at(quarter / 4, radius + 6)], INK),
            text(x, y + 4, f"quarter {name}", size=12),
        ]
    parts += [
        line([middle, at(phase)], COLOURS[1], 2.5),
        line([middle, at(nearest)], COLOURS[0], 2.5),
        arc(at(nearest, 80), at(phase, 80), 80, COLOURS[2], clockwise=False),
        text(*at(0.775, 98), "rest", size=13, colour=COLOURS[2]),
    ]
    notes: Sequence[tuple[str, str]] = (
        ("phase: the angle of F = 1 at p = 5, in 2^-32 turns", COLOURS[1]),
        ("quarter = 3: the nearest quarter turn", COLOURS[0]),
        ("rest: what is left, within an eighth of a turn", COLOURS[2]),
        ("cos and sin of the rest, by the polynomials;", INK),
        ("then (cos, sin) of the angle = (sin, -cos) of the rest", INK),
    )
    parts += [text(475, 130 + 26 * i, words, "start", 13, colour) for i, (words, colour) in enumerate(notes)]
    return drawing(850, 380, "Range reduction on the circle", parts)


FIGURES: dict[str, Callable[[], bytes]] = {"pairings": pairings, "scaling": scaling, "circle": circle}
