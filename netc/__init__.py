"""netc: a compiler for small and medium neural networks.

``netc.compile`` makes a model from a ``.net`` file, ``netc.check`` lists what is wrong with one, ``netc.load`` reads
saved weights. What they need is imported when one of them is first used.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CompileError", "Diagnostic", "Model", "Replicas", "__version__", "check", "compile", "load"]

if TYPE_CHECKING:
    from .api import check, compile, load
    from .grammar.diagnostics import CompileError, Diagnostic
    from .model import Model
    from .replicas import Replicas


def __getattr__(name: str) -> Any:
    import importlib

    places = {
        "CompileError": "grammar.diagnostics", "Diagnostic": "grammar.diagnostics", "Model": "model",
        "Replicas": "replicas",
    }  # fmt: skip
    if name not in __all__:
        raise AttributeError(f"module netc has no attribute {name}")
    return getattr(importlib.import_module(f".{places.get(name, 'api')}", __name__), name)
