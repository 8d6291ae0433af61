"""A chart of the comparison: one SVG file that needs nothing else, readable on light and dark pages."""
from xml.sax.saxutils import escape

WIDTH, LEFT, TOP, PANEL, GAP = 940, 20, 64, 230, 64
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.small { font-size: 10px } .head { font-size: 16px; font-weight: 600 } .soft { fill: #57606a }
.page { fill: #ffffff; stroke: #d0d7de } .line { stroke: #8c959f }
.e0 { fill: #0969da } .e1 { fill: #bc4c00 } .e2 { fill: #8250df } .e3 { fill: #1a7f37 } .fp32 { fill-opacity: 0.45 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .soft { fill: #9198a1 }
.page { fill: #0d1117; stroke: #3d444d } .line { stroke: #656c76 }
.e0 { fill: #4493f8 } .e1 { fill: #db6d28 } .e2 { fill: #a475f9 } .e3 { fill: #3fb950 }
}
"""


def text(x, y, what, css="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(str(what))}</text>'


def colours(engines):
    """A colour a program, which is the first word of a name; paler in FP32."""
    programs = list(dict.fromkeys(e["name"].split()[0] for e in engines))
    return {e["name"]: f"e{programs.index(e['name'].split()[0])} {e['precision']}" for e in engines}


def legend(engines):
    parts, x = [], LEFT
    for name, colour in colours(engines).items():
        parts.append(f'<rect x="{x}" y="38" width="12" height="12" rx="2" class="{colour}"/>')
        parts.append(text(x + 17, 49, name))
        x += 40 + 7.5 * len(name)
    return parts


def panel(doc, phase, top):
    """Groups of bars, one a batch size, on one scale from zero; each bar says its number."""
    engines, batches = doc["engines"], [str(b) for b in doc["batches"]]
    colour = colours(engines)
    speed = {(e["name"], b): e["cells"][b][phase + "_tok_s"] for e in engines for b in batches}
    most, floor = max(speed.values()), top + PANEL
    group = (WIDTH - 2 * LEFT) / len(batches)
    bar = min(34.0, (group - 16) / len(engines))
    parts = [text(LEFT, top - 8, {"prefill": "Prefill, tokens a second", "decode": "Decode, tokens a second"}[phase], "head")]
    for g, batch in enumerate(batches):
        middle = LEFT + group * (g + 0.5)
        for i, e in enumerate(engines):
            value = speed[e["name"], batch]
            height, x = (PANEL - 34) * value / most, middle + bar * (i - len(engines) / 2)
            parts.append(f'<rect x="{x + 1:.1f}" y="{floor - height:.1f}" width="{bar - 2:.1f}" height="{height:.1f}" rx="1.5" '
                         f'class="{colour[e["name"]]}"><title>{escape(e["name"])}, batch {batch}: {value:.0f}</title></rect>')
            parts.append(text(x + bar / 2, floor - height - 4, f"{value:.0f}", "small", "middle"))
        parts.append(text(middle, floor + 17, f"{batch} sequence{'s' if batch != '1' else ''}", "soft", "middle"))
    parts.append(f'<line x1="{LEFT}" y1="{floor}" x2="{WIDTH - LEFT}" y2="{floor}" class="line"/>')
    return parts


def wrap(words, width):
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def svg(doc, caption):
    second = TOP + 24 + PANEL + GAP
    notes = wrap(caption, 125)
    height = second + PANEL + 44 + 16 * len(notes)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
             f"<title>Tokens a second of octet and its peers</title><desc>{escape(caption)}</desc>",
             f"<style>{STYLE}</style>",
             f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" class="page"/>',
             text(LEFT, 26, "octet and its peers on the same machine, in the same run", "head"),
             *legend(doc["engines"]),
             *panel(doc, "prefill", TOP + 24), *panel(doc, "decode", second),
             *(text(LEFT, second + PANEL + 44 + 16 * i, line, "soft") for i, line in enumerate(notes)), "</svg>"]
    return "\n".join(parts) + "\n"
