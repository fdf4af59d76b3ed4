"""All operations in one table; importing this module fills ``build.TABLE``."""

from __future__ import annotations

from .build import TABLE
from .contraction import CONTRACT
from .elementwise import ELEMENTWISE
from .leaves import CONSTANT, INPUT, IOTA, RANDOM, ROWS_COUNT
from .record import Operation
from .recurrence import SCAN
from .reductions import REDUCTIONS
from .structure import STRUCTURE
from .windows import WINDOWS

OPERATIONS: tuple[Operation, ...] = (
    INPUT, CONSTANT, IOTA, ROWS_COUNT, RANDOM, *ELEMENTWISE, *STRUCTURE, *WINDOWS, *REDUCTIONS, CONTRACT, SCAN,
)  # fmt: skip

TABLE.update({operation.name: operation for operation in OPERATIONS})
