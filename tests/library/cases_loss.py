"""Losses: every reduction, weights, and targets of every kind."""

from __future__ import annotations

from .cases import Case, Input

X = Input((5, 6))
Y = Input((5, 6), name="target")
IMAGE = Input((2, 4, 3, 5))
LABEL_MAP = Input((2, 3, 5), "classes 4", "target")
LABELS = Input((5,), "classes 6", "target")
SOME = Input((6,), "whole 1 2 -100 0 2 3", "target")
SCORES = Input((6, 4))
CLASS_WEIGHTS = "0.5, 1.5, 2, 1"


def loss(
    name: str, net: str, torch: str, *inputs: Input, reductions: str = "mean sum none", **rest: object
) -> tuple[Case, ...]:
    """A loss of the inputs in their order with its further arguments, once for each reduction."""
    found = []
    names = ", ".join(i.name for i in inputs)
    for reduction in reductions.split():
        given = f'{names}, reduction = "{reduction}"' + (f", {net}" if net else "")
        call = f"{name}({given})"
        function = torch.replace("...", f'{names}, reduction="{reduction}"')
        function = function if reduction == "none" else f"({function}).expand(len(x), 1)"
        written = f"return {call}" if reduction == "none" else f"return broadcast_to({call}, [n, 1])"
        function = f"lambda {names}: {function}"
        shapes = " ".join("x".join(map(str, i.shape)) + f" {i.kind}" for i in inputs)
        found.append(Case(f"{call}: {shapes}", written, function, inputs, entry=name, **rest))  # type: ignore[arg-type]
    return tuple(found)


def tensor(numbers: str) -> str:
    return f"torch.tensor([{numbers}]).double()"


def ctc(net: str, torch: str, labels: Input, *lengths: Input) -> tuple[Case, ...]:
    """Of scores, since torch's derivative is right behind log_softmax alone."""
    found = []
    names = ["x", "target", *(i.name for i in lengths)]
    for reduction in ("mean", "sum", "none"):
        rest = ", ".join([*names[1:], f'reduction = "{reduction}"', *([net] if net else [])])
        call = f"ctc_loss(log_softmax(x, dim = 2), {rest})"
        theirs = f"F.ctc_loss(F.log_softmax(x, 2).transpose(0, 1), target.clamp(min=0), {torch}, reduction={reduction!r})"
        theirs = theirs if reduction == "none" else f"({theirs}).expand(len(x), 1)"
        written = f"return {call}" if reduction == "none" else f"return broadcast_to({call}, [n, 1])"
        function = f"lambda {', '.join(names)}: {theirs}"
        found.append(
            Case(f"{call}: {labels.kind}", written, function, (SOUNDS, labels, *lengths), entry="ctc_loss")
        )
    return tuple(found)


SOUNDS = Input((3, 7, 5))

CASES: tuple[Case, ...] = (
    *ctc("", "[7, 7, 7], [3, 3, 3]", Input((3, 3), "whole 1 2 3 2 2 4 1 1 1", "target")),
    *ctc("", "[7, 7, 7], [3, 1, 0]", Input((3, 3), "whole 4 2 3 2 -1 -1 -1 -1 -1", "target")),
    *ctc(
        "blank = 2", "input_lengths, target_lengths, 2", Input((3, 4), "whole 0 1 1 0 3 3 4 4 4 0 4 1", "target"),
        Input((3,), "whole 7 5 6", "input_lengths"), Input((3,), "whole 4 2 3", "target_lengths"),
    ),
    *ctc(
        "zero_infinity = true", "[7, 7, 7], [5, 4, 2], zero_infinity=True",
        Input((3, 5), "whole 1 1 1 1 1 1 2 1 2 -1 3 3 -1 -1 -1", "target"),
    ),
    *loss("mse_loss", "", "F.mse_loss(...)", X, Y),
    *loss("l1_loss", "", "F.l1_loss(...)", X, Y),
    *loss("smooth_l1_loss", "", "F.smooth_l1_loss(...)", X, Y),
    *loss("smooth_l1_loss", "beta = 0.3", "F.smooth_l1_loss(..., beta=0.3)", X, Y),
    *loss("smooth_l1_loss", "beta = 0", "F.smooth_l1_loss(..., beta=0.0)", X, Y),
    *loss("huber_loss", "", "F.huber_loss(...)", X, Y),
    *loss("huber_loss", "delta = 0.3", "F.huber_loss(..., delta=0.3)", X, Y),
    *loss("bce_loss", "", "F.binary_cross_entropy(...)", Input((5, 6), "uniform"), Input((5, 6), "uniform", "target")),
    *loss(
        "bce_loss", f"weight = [{CLASS_WEIGHTS}]", f"F.binary_cross_entropy(..., weight={tensor(CLASS_WEIGHTS)})",
        Input((6, 4), "uniform"), Input((6, 4), "binary", "target"),
    ),
    *loss(
        "bce_loss", "", "F.binary_cross_entropy(...)", Input((2, 4), "values 0 1 0 1 1 0 0.5 1e-30"),
        Input((2, 4), "values 0 1 1 0 0.5 0.5 1 1", "target"), forward_only=True,
    ),
    *loss("bce_with_logits_loss", "", "F.binary_cross_entropy_with_logits(...)", X, Input((5, 6), "uniform", "target")),
    *loss(
        "bce_with_logits_loss", f"weight = [{CLASS_WEIGHTS}], pos_weight = [2, 1, 0.5, 3]",
        f"F.binary_cross_entropy_with_logits(..., weight={tensor(CLASS_WEIGHTS)}, pos_weight={tensor('2, 1, 0.5, 3')})",
        SCORES, Input((6, 4), "binary", "target"),
    ),
    *loss(
        "bce_with_logits_loss", "pos_weight = 3",
        "F.binary_cross_entropy_with_logits(..., pos_weight=torch.tensor(3.0).double())",
        Input((4, 4), "edges"), Input((4, 4), "uniform", "target"), kinks=True,
    ),
    *loss("cross_entropy_loss", "", "F.cross_entropy(...)", X, LABELS),
    *loss("cross_entropy_loss", "", "F.cross_entropy(...)", IMAGE, LABEL_MAP),
    *loss("cross_entropy_loss", "", "F.cross_entropy(...)", Input((3, 4, 5)), Input((3, 5), "classes 4", "target")),
    *loss("cross_entropy_loss", "", "F.cross_entropy(...)", Input((2, 3, 2, 2, 2)), Input((2, 2, 2, 2), "classes 3", "target")),
    *loss("cross_entropy_loss", "label_smoothing = 0.1", "F.cross_entropy(..., label_smoothing=0.1)", X, LABELS),
    *loss(
        "cross_entropy_loss", f"weight = [{CLASS_WEIGHTS}]", f"F.cross_entropy(..., weight={tensor(CLASS_WEIGHTS)})",
        SCORES, SOME,
    ),
    *loss(
        "cross_entropy_loss", f"weight = [{CLASS_WEIGHTS}], ignore_index = 2, label_smoothing = 0.2",
        f"F.cross_entropy(..., weight={tensor(CLASS_WEIGHTS)}, ignore_index=2, label_smoothing=0.2)", IMAGE, LABEL_MAP,
    ),
    *loss("cross_entropy_loss", "ignore_index = 3", "F.cross_entropy(..., ignore_index=3)", IMAGE, LABEL_MAP),
    *loss("cross_entropy_loss", "label_smoothing = 0.3", "F.cross_entropy(..., label_smoothing=0.3)", SCORES, SOME),
    *loss("cross_entropy_loss", "", "F.cross_entropy(...)", X, Input((5, 6), "probabilities", "target")),
    *loss(
        "cross_entropy_loss", f"weight = [{CLASS_WEIGHTS}], label_smoothing = 0.2",
        f"F.cross_entropy(..., weight={tensor(CLASS_WEIGHTS)}, label_smoothing=0.2)",
        IMAGE, Input((2, 4, 3, 5), "probabilities", "target"),
    ),
    *loss("cross_entropy_loss", "", "F.cross_entropy(...)", Input((3, 4), "values 1e4 -1e4 0 5 -inf 1 2 3 3 3 3 3"),
          Input((3,), "whole 1 2 0", "target"), kinks=True),
    *loss("nll_loss", "", "F.nll_loss(...)", X, LABELS),
    *loss("nll_loss", f"weight = [{CLASS_WEIGHTS}]", f"F.nll_loss(..., weight={tensor(CLASS_WEIGHTS)})", SCORES, SOME),
    *loss("nll_loss", "ignore_index = 1", "F.nll_loss(..., ignore_index=1)", IMAGE, LABEL_MAP),
    *loss("kl_div_loss", "", "F.kl_div(...)", X, Input((5, 6), "probabilities", "target")),
    *loss("kl_div_loss", "", "F.kl_div(...)", X, Input((5, 6), "probabilities", "target"), reductions="batchmean"),
    *loss("kl_div_loss", "log_target = true", "F.kl_div(..., log_target=True)", X, Y),
    *loss("kl_div_loss", "log_target = true", "F.kl_div(..., log_target=True)", X, Y, reductions="batchmean"),
    *loss("kl_div_loss", "", "F.kl_div(...)", Input((2, 3)), Input((2, 3), "values 0 1 0.5", "target"), forward_only=True),
    *loss("poisson_nll_loss", "", "F.poisson_nll_loss(...)", X, Input((5, 6), "values 0 1 2 3 0.5 7", "target")),
    *loss("poisson_nll_loss", "full = true", "F.poisson_nll_loss(..., full=True)", X,
          Input((5, 6), "values 0.1 1.5 2 3 0.5 7", "target")),
    *loss("poisson_nll_loss", "log_input = false, eps = 1e-3", "F.poisson_nll_loss(..., log_input=False, eps=1e-3)",
          Input((5, 6), "positive"), Y),
    *loss("gaussian_nll_loss", "", "F.gaussian_nll_loss(...)", X, Y, Input((5, 6), "positive", "var")),
    *loss("gaussian_nll_loss", "full = true, eps = 0.5", "F.gaussian_nll_loss(..., full=True, eps=0.5)", X, Y,
          Input((5, 6), "positive", "var"), kinks=True),
    *loss("gaussian_nll_loss", "", "F.gaussian_nll_loss(...)", X, Y, Input((5, 1), "positive", "var")),
    *loss("gaussian_nll_loss", "", "F.gaussian_nll_loss(...)", X, Y, Input((5,), "positive", "var")),
    *loss("gaussian_nll_loss", "var = 0.7", "F.gaussian_nll_loss(..., var=0.7)", X, Y),
    *loss("hinge_embedding_loss", "", "F.hinge_embedding_loss(...)", X, Input((5, 6), "signs", "target"), kinks=True),
    *loss("hinge_embedding_loss", "margin = 0.3", "F.hinge_embedding_loss(..., margin=0.3)", X, Input((5, 6), "signs", "target"), kinks=True),
    *loss("soft_margin_loss", "", "F.soft_margin_loss(...)", X, Input((5, 6), "signs", "target")),
    *loss("multi_margin_loss", "", "F.multi_margin_loss(...)", X, LABELS),
    *loss("multi_margin_loss", f"p = 2, margin = 0.5, weight = [{CLASS_WEIGHTS}]",
          f"F.multi_margin_loss(..., p=2, margin=0.5, weight={tensor(CLASS_WEIGHTS)})", SCORES, Input((6,), "classes 4", "target")),
    *loss("multilabel_margin_loss", "", "F.multilabel_margin_loss(...)", SCORES,
          Input((6, 4), "whole 3 0 -1 1 -1 2 2 2 1 -1 -1 -1 0 1 2 3 2 3 1 -1 2 -1 0 -1", "target")),
    *loss("multilabel_soft_margin_loss", "", "F.multilabel_soft_margin_loss(...)", X, Input((5, 6), "binary", "target")),
    *loss("multilabel_soft_margin_loss", f"weight = [{CLASS_WEIGHTS}]",
          f"F.multilabel_soft_margin_loss(..., weight={tensor(CLASS_WEIGHTS)})", SCORES, Input((6, 4), "binary", "target")),
)  # fmt: skip
