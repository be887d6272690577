"""Tables and the plot of the adaptation study.

    python -m tests.benchmarks.study_report study.jsonl … [--to FOLDER]

Differences are paired by test object and averaged over seeds first; an average over domains
gives every domain the same weight. Intervals are 90 % percentile bootstraps that draw whole test
images within each domain, because objects of one image are not independent.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.adaptation_study import CLICKS, DEVELOPMENT, REPORT, key_of, read_lines

Lines = Sequence[Mapping[str, Any]]
Floats = NDArray[np.float64]

DRAWS: Final = 2000
GRID: Final = 0.05
COLOURS: Final = {"decoder": "#2a9d8f", "lora": "#3a6ea5", "infosam": "#d1495b"}
# per_object: object, image, clicks to 0.85, then the IoU after each click.
FIGURES: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "IoU@1": lambda row: row[3],
    "IoU@3": lambda row: row[5],
    "IoU@8": lambda row: row[3 + CLICKS - 1],
    "NoC@85": lambda row: row[2],
}


@dataclass(frozen=True)
class Arm:
    """What is compared: a method at a speed with so many labelled images; base: no labels."""

    method: str
    speed: str
    labels: int


BASE: Final = Arm("base", "none", 0)


def lines_of(lines: Lines, domain: str, arm: Arm) -> Lines:
    """The cells of one arm on one domain: a line for every seed."""
    wanted = (domain, arm.method, arm.speed, arm.labels)
    return [r for r in lines if (r["domain"], r["method"], r["speed"], r["labels"]) == wanted]


def per_object(lines: Lines, domain: str, arm: Arm, figure: str) -> dict[tuple[int, int], float]:
    """(object, image) to its figure, averaged over the seeds that were run."""
    own = lines_of(lines, domain, arm)
    rows: dict[tuple[int, int], list[float]] = {}
    for line in own:
        for row in line["per_object"]:
            rows.setdefault((int(row[0]), int(row[1])), []).append(FIGURES[figure](row))
    return {key: float(np.mean(values)) for key, values in rows.items() if len(values) == len(own)}


def paired(lines: Lines, domain: str, one: Arm, two: Arm, figure: str) -> tuple[Floats, Any]:
    """(differences one - two, images) of the objects both were tested on, over equal seeds."""
    first, second = _same_seeds(lines, domain, one, two)
    a, b = per_object(first, domain, one, figure), per_object(second, domain, two, figure)
    keys = sorted(set(a) & set(b))
    return np.array([a[k] - b[k] for k in keys]), np.array([image for _, image in keys])


def _same_seeds(lines: Lines, domain: str, one: Arm, two: Arm) -> tuple[Lines, Lines]:
    """The base has one seed; two methods are compared on seeds that both have."""

    def seeds(arm: Arm) -> set[int]:
        return {line["seed"] for line in lines_of(lines, domain, arm)}

    if BASE in (one, two):
        return lines, lines
    both = seeds(one) & seeds(two)
    kept = [line for line in lines if line["seed"] in both]
    return kept, kept


def mean_and_interval(parts: Sequence[tuple[Floats, Any]]) -> tuple[float, float, float]:
    """(mean, low, high) over domains of equal weight, images drawn within each."""
    rng = np.random.default_rng(0)
    drawn = np.zeros(DRAWS)
    for gains, images in parts:
        _, index = np.unique(images, return_inverse=True)
        sums, sizes = np.bincount(index, weights=gains), np.bincount(index)
        picks = rng.integers(len(sums), size=(DRAWS, len(sums)))
        drawn += sums[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    mean = float(np.mean([gains.mean() for gains, _ in parts]))
    low, high = np.quantile(drawn / len(parts), [0.05, 0.95])
    return mean, float(low), float(high)


def difference(lines: Lines, domains: Sequence[str], one: Arm, two: Arm, figure: str) -> str:
    """A signed difference with its interval, over the domains where both were run."""
    parts = [paired(lines, domain, one, two, figure) for domain in domains]
    parts = [part for part in parts if len(part[0])]
    if not parts:
        return "-"
    mean, low, high = mean_and_interval(parts)
    digits = 2 if figure.startswith("NoC") else 3
    return f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def arms_of(lines: Lines) -> list[Arm]:
    """Every trained arm in the file, most labels first."""
    found = {
        Arm(line["method"], line["speed"], line["labels"])
        for line in lines
        if line["method"] != "base"
    }
    order = list(COLOURS)
    return sorted(found, key=lambda arm: (arm.speed, -arm.labels, order.index(arm.method)))


def named(arm: Arm) -> str:
    """The arm in a table."""
    if arm == BASE:
        return "before"
    method = "decoder only" if (arm.method, arm.speed) == ("lora", "instant") else arm.method
    return f"{method}, {arm.speed}, {arm.labels} image{'s' if arm.labels > 1 else ''}"


def domain_table(lines: Lines, domains: Sequence[str]) -> str:
    """Every domain and arm: mean figures over objects and seeds."""
    head = ["domain", "model", "seeds", *FIGURES, "box", "background clicks that hit"]
    out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for domain in domains:
        for arm in (BASE, *arms_of(lines)):
            own = lines_of(lines, domain, arm)
            if not own:
                continue
            cells = [domain if arm == BASE else "", named(arm), str(len(own))]
            for figure in FIGURES:
                values = list(per_object(own, domain, arm, figure).values())
                cells.append(f"{np.mean(values):.{2 if figure.startswith('NoC') else 3}f}")
            cells.append(f"{np.mean([line['box_miou'] for line in own]):.3f}")
            cells.append(f"{100 * np.mean([line['promptability'] for line in own]):.0f} %")
            out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def mean_table(lines: Lines, domains: Sequence[str]) -> str:
    """Gains over the base, averaged over domains, with intervals; and domains that lost."""
    head = ["model", "domains", "seeds", *FIGURES, "NoC@85, seed by seed", "worse in"]
    out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for arm in arms_of(lines):
        here = [d for d in domains if len(paired(lines, d, arm, BASE, "IoU@1")[0])]
        if not here:
            continue
        seeds = np.mean([len(lines_of(lines, domain, arm)) for domain in here])
        gains = [difference(lines, here, arm, BASE, figure) for figure in FIGURES]
        cells = [named(arm), str(len(here)), f"{seeds:.3g}", *gains]
        cells += [_by_seed(lines, here, arm), _losers(lines, here, arm)]
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def _by_seed(lines: Lines, domains: Sequence[str], arm: Arm) -> str:
    """What each training alone changed in clicks: the spread that intervals do not show."""
    out = []
    for seed in sorted({line["seed"] for line in lines}):
        own = [line for line in lines if line["method"] == "base" or line["seed"] == seed]
        gains = [paired(own, domain, arm, BASE, "NoC@85")[0] for domain in domains]
        means = [gain.mean() for gain in gains if len(gain)]
        if means:
            out.append(f"{np.mean(means):+.2f}")
    return " ".join(out)


def _losers(lines: Lines, domains: Sequence[str], arm: Arm) -> str:
    found = []
    for domain in domains:
        for figure, sign in (("IoU@1", 1), ("NoC@85", -1)):
            change = sign * float(paired(lines, domain, arm, BASE, figure)[0].mean())
            if change < 0:
                found.append(f"{domain} ({figure} {sign * change:+.2f})")
    return ", ".join(found) or "none"


def contrasts(lines: Lines, domains: Sequence[str]) -> str:
    """Methods against each other, everything else equal."""
    out = []
    for arm in arms_of(lines):
        for other in ("lora", "decoder"):
            if list(COLOURS).index(arm.method) <= list(COLOURS).index(other):
                continue
            two = Arm(other, arm.speed, arm.labels)
            told = [f"{f} {difference(lines, domains, arm, two, f)}" for f in FIGURES]
            if not told[0].endswith("-"):
                out.append(f"* {named(arm)} against {named(two)}: {'; '.join(told)}")
    return "\n".join(out) + "\n"


def forgetting(lines: Lines) -> str:
    """The other domains before and after adapting to one."""
    base = {line["domain"]: line for line in lines if line["method"] == "base" and "others" in line}
    out = []
    for line in lines:
        before = base.get(line["domain"], {}).get("others")
        if line["method"] == "base" or "others" not in line or before is None:
            continue
        arm = Arm(line["method"], line["speed"], line["labels"])
        changes = {
            name: (
                after["miou_at"][0] - before[name]["miou_at"][0],
                after["noc85"] - before[name]["noc85"],
            )
            for name, after in line["others"].items()
        }
        first, clicks = np.mean(list(changes.values()), axis=0)
        worst = min(changes, key=lambda name: changes[name][0])
        out.append(
            f"* adapted to {line['domain']} ({named(arm)}): IoU@1 {first:+.3f}, NoC@85 "
            f"{clicks:+.2f} on the {len(changes)} other domains; worst {worst}, "
            f"{changes[worst][0]:+.3f}"
        )
    return "\n".join(out) + "\n"


def svg(lines: Lines, domains: Sequence[str], speed: str = "instant") -> str:
    """What IoU after one click gains, against labelled images: a panel per domain and their mean.

    All panels have one scale, in steps of `GRID`, wide enough for every curve.
    """
    points = (0, 1, 5, 10)
    groups = {**{name: [name] for name in domains}, "mean": list(domains)}
    curves = {
        name: {m: _curve(lines, group, m, speed, points) for m in COLOURS}
        for name, group in groups.items()
    }
    found = [value for own in curves.values() for curve in own.values() for _, value in curve]
    low, high = math.floor(min([0, *found]) / GRID), math.ceil(max([GRID, *found]) / GRID)
    panels = [
        _panel(150 * (number % 4), 130 * (number // 4), name, curves[name], points, (low, high))
        for number, name in enumerate(groups)
    ]
    width, height = 150 * min(4, len(panels)) + 10, 130 * (-(-len(panels) // 4)) + 24
    drawn = {line["method"] for line in lines if line["speed"] == speed}
    shown = [method for method in COLOURS if method in drawn]
    legend = "".join(
        f'<text x="{20 + 130 * k}" y="{height - 8}" fill="{COLOURS[m]}" font-size="10">'
        f"{'decoder only' if (m, speed) == ('lora', 'instant') else m}</text>"
        for k, m in enumerate(shown)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif">'
        f'<rect width="{width}" height="{height}" fill="white"/>'
        + "".join(panels)
        + legend
        + "</svg>"
    )


def _curve(
    lines: Lines, domains: Sequence[str], method: str, speed: str, points: Sequence[int]
) -> list[tuple[int, float]]:
    """(place on the axis, gain in IoU@1, mean of domains) wherever all of these were run."""
    out = []
    for place, labels in enumerate(points):
        arm = Arm(method, speed, labels) if labels else BASE
        found = [paired(lines, domain, arm, BASE, "IoU@1")[0] for domain in domains]
        if all(len(gains) for gains in found):
            out.append((place, float(np.mean([gains.mean() for gains in found]))))
    return out if len(out) > 1 else []


def _panel(
    x: int,
    y: int,
    name: str,
    curves: Mapping[str, Sequence[tuple[int, float]]],
    points: Any,
    scale: tuple[int, int],
) -> str:
    low, high = scale

    def at(place: float, value: float) -> str:
        part = (value / GRID - low) / (high - low)
        return f"{x + 30 + 34 * place:.1f},{y + 105 - 80 * part:.1f}"

    out = [f'<text x="{x + 30}" y="{y + 14}" font-size="10">{name.replace("_", " ")}</text>']
    for step in range(low, high + 1):
        value = step * GRID
        place, right = at(0, value).split(","), at(3.2, value).split(",")
        out.append(
            f'<line x1="{place[0]}" x2="{right[0]}" y1="{place[1]}" y2="{place[1]}" '
            f'stroke="{"#ddd" if step else "#999"}"/>'
            f'<text x="{x + 4}" y="{float(place[1]) + 3:.1f}" font-size="8">{value:+.2f}</text>'
        )
    for place, labels in enumerate(points):
        out.append(f'<text x="{x + 27 + 34 * place}" y="{y + 117}" font-size="8">{labels}</text>')
    for method, curve in curves.items():
        line = " ".join(at(place, value) for place, value in curve)
        if line:
            out.append(
                f'<polyline points="{line}" fill="none" stroke="{COLOURS[method]}" '
                'stroke-width="1.6"/>'
            )
    return "".join(out)


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """A guide page with each of these tables or lists in place of the one below its heading.

    ``tables`` maps the words with which a bold heading of one line opens to the new text;
    KeyError where the page has no such heading.
    """
    lines = page.splitlines()
    for heading, table in tables.items():
        opens = [n for n, line in enumerate(lines) if line.startswith(f"**{heading}")]
        if not opens:
            raise KeyError(heading)
        first = last = opens[0] + 2
        while last < len(lines) and lines[last].startswith(("| ", "|--", "* ")):
            last += 1
        lines[first:last] = table.strip().splitlines()
    return "\n".join(lines) + "\n"


def write_page(folder: Path, lines: Lines, domains: Sequence[str]) -> None:
    """Put plot and tables of the report domains into the guide's page."""
    for speed, name in (("instant", "adaptation_study"), ("full", "adaptation_study_full")):
        (folder / f"{name}.svg").write_text(svg(lines, domains, speed), encoding="utf-8")
    page = folder / "adaptation_study.md"
    ten = [line for line in lines if line["labels"] in (0, 10)]
    tables = {
        "Gain over the model before": mean_table(lines, domains),
        "InfoSAM against the same": contrasts(lines, domains),
        "Every domain": domain_table(ten, domains),
    }
    page.write_text(with_tables(page.read_text("utf-8"), tables), encoding="utf-8")


def main() -> int:
    """Print the report; with ``--to`` write plot and tables into the guide page there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("lines", type=Path, nargs="+")
    parser.add_argument("--to", type=Path)
    args = parser.parse_args()
    every = [line for path in args.lines for line in read_lines(path)]
    # A cell that stands in two files counts once, as it stands in the first.
    lines = list({key_of(line): line for line in reversed(every)}.values())[::-1]
    models = sorted({line["model"] for line in lines})
    print(f"models {models}, {len(lines)} cells\n")
    for title, domains in (("report", REPORT), ("development", DEVELOPMENT)):
        here = [name for name in domains if any(line["domain"] == name for line in lines)]
        if here:
            print(f"## {title}\n\n{domain_table(lines, here)}\n{mean_table(lines, here)}")
            print(contrasts(lines, here))
            if args.to is not None and title == "report":
                write_page(args.to, lines, here)
    print(forgetting(every))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
