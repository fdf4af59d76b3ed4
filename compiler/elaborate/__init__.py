"""Elaboration: from the syntax tree to graphs, by evaluating the language while compiling."""

from . import recurrence
from .data import DataPlan, TableShape
from .declarations import LayerInfo, TensorSpec
from .network import InputSpec, Network
from .precision import Precision
from .program import Program, check, check_fit, library_definition, library_names, load
from .states import average_of
from .training import Goal, Metric, StateSpec, TrainPlan, leaves_of

__all__ = [
    "DataPlan",
    "Goal",
    "InputSpec",
    "LayerInfo",
    "Metric",
    "Network",
    "Precision",
    "Program",
    "StateSpec",
    "TableShape",
    "TensorSpec",
    "TrainPlan",
    "average_of",
    "check",
    "check_fit",
    "leaves_of",
    "library_definition",
    "library_names",
    "load",
    "recurrence",
]  # fmt: skip
