"""Recurrent layers: plain, gated, in layers on top of each other, in both directions."""

from __future__ import annotations

from .cases import Case, Input, case

SEQUENCE = Input((3, 6, 4))


def recurrent(net: str, torch: str, *, draws: bool = False) -> Case:
    """Torch's layers give the last states as well; only the hidden states of all times are compared."""
    return case(net, f"Hidden({torch})", SEQUENCE, draws=draws)


CASES = (
    recurrent("rnn(5)", "nn.RNN(4, 5, batch_first=True)"),
    recurrent("rnn(4, 5)", "nn.RNN(4, 5, batch_first=True)"),
    recurrent(
        'rnn(5, nonlinearity = "relu", bias = false)',
        'nn.RNN(4, 5, nonlinearity="relu", bias=False, batch_first=True)',
    ),
    recurrent(
        "rnn(3, num_layers = 2, bidirectional = true)",
        "nn.RNN(4, 3, 2, bidirectional=True, batch_first=True)",
    ),
    recurrent("lstm(5)", "nn.LSTM(4, 5, batch_first=True)"),
    recurrent("lstm(5, bias = false)", "nn.LSTM(4, 5, bias=False, batch_first=True)"),
    recurrent("lstm(3, num_layers = 3)", "nn.LSTM(4, 3, 3, batch_first=True)"),
    recurrent(
        "lstm(3, num_layers = 2, bidirectional = true)",
        "nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True)",
    ),
    recurrent(
        "lstm(3, num_layers = 2, dropout = 0.5)",
        "nn.LSTM(4, 3, 2, dropout=0.5, batch_first=True)",
        draws=True,
    ),
    recurrent("gru(5)", "nn.GRU(4, 5, batch_first=True)"),
    recurrent("gru(5, bias = false)", "nn.GRU(4, 5, bias=False, batch_first=True)"),
    recurrent(
        "gru(3, num_layers = 2, bidirectional = true)",
        "nn.GRU(4, 3, 2, bidirectional=True, batch_first=True)",
    ),
    case("last", "lambda x: x[:, -1]", SEQUENCE),
)
