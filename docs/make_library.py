"""Writes ``docs/library.md`` from the library's text: ``python docs/make_library.py``.

In: ``library/*.net``. Out: for every entry that has an example its comment, its text, what the example gives, and its
derivative as ``netc show`` prints it, family by family. A test compares the page with what this gives.
"""

from __future__ import annotations

from pathlib import Path

from netc.cli.entry import body, comment, derivative, example
from netc.compiler.elaborate.program import library_definition, library_folder, library_kinds
from netc.grammar.syntax import Definition

PAGE = Path(__file__).parent / "library.md"
HEAD = """# The library

Every layer, loss, optimizer, schedule, initialiser and metric, as it stands in `library/*.net`: this page is made from
that text by `python docs/make_library.py`. Names, arguments, defaults and numerical behaviour are PyTorch's, and each entry
is compared with it by the tests. The compiler knows none of these names: a program's own definitions are written in the same
way, and an entry can be copied and changed.

Parameters before `;` may be given by position, those behind it by name; one with `?` takes its size from the input. `n` is the
number of observations. Below an entry stands an example with its shapes and, where it is short, what the compiler makes of
it: the formula of the output, and the gradients (`d_...`) for a given `cotangent`, the gradient of the output.
`netc show library:NAME` prints the same for one entry.
"""
FAMILIES = {
    "linear": "Linear layers and shapes", "activation": "Activations", "convolution": "Convolutions",
    "conv_transpose": "Transposed convolutions", "padding": "Padding", "pooling": "Pooling",
    "adaptive_pooling": "Adaptive pooling", "normalization": "Normalisation", "dropout": "Dropout",
    "resampling": "Resampling", "recurrent": "Recurrent layers", "attention": "Attention", "blocks": "Blocks",
    "loss": "Losses", "ctc": "Connectionist temporal classification", "metric": "Metrics", "optimizer": "Optimizers",
    "second_order": "Optimizers of second order", "schedule": "Learning-rate schedules", "init": "Initialisers",
    "random": "Random tensors",
}  # fmt: skip


def entries(family: str) -> list[Definition]:
    """The entries of a file, without what is only a part of others."""
    found = [library_definition(name) for name in library_kinds()]
    return [
        d
        for d in found
        if d is not None and d.span.source.name == f"library:{family}.net" and example(d) is not None
    ]


def page() -> str:
    """The whole page."""
    known = {p.stem for p in library_folder().glob("*.net")}
    if known != set(FAMILIES):
        raise SystemExit(f"FAMILIES does not name the files of library/: {known ^ set(FAMILIES)}")
    lines = [HEAD]
    for family, title in FAMILIES.items():
        names = ", ".join(f"[`{d.name.id}`](#{d.name.id})" for d in entries(family))
        lines.append(f"- **[{title}](#{title.lower().replace(' ', '-')})**: {names}")
    for family, title in FAMILIES.items():
        lines += ["", f"## {title}", "", _introduction(family)]
        for definition in entries(family):
            lines += ["", *_entry(definition)]
    return "\n".join(lines) + "\n"


def _introduction(family: str) -> str:
    """The comment at the top of a file."""
    text = (library_folder() / f"{family}.net").read_text(encoding="utf-8")
    return _prose(text.split("\n\n", 1)[0])


def _prose(comment: str) -> str:
    """A comment as a paragraph of Markdown."""
    text = " ".join(line.removeprefix("#").strip() for line in comment.split("\n"))
    return text.strip().replace("<", "&lt;").replace("*", "\\*")


def _entry(definition: Definition) -> list[str]:
    use = example(definition)
    assert use is not None
    text = _prose(comment(definition))
    lines = [f"### {definition.name.id}", "", *([text, ""] if text else [])]
    lines += ["```text", body(definition), "```"]
    shown = derivative(definition)
    if not shown:
        return [*lines, "", f"Example: `{use.text}`"]
    heading, *formulas = shown
    lines += ["", "Example: `" + heading.removeprefix("# ") + "`"]
    return [*lines, "", "```text", *formulas, "```"] if formulas else lines


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
