"""Whether two intercepts ask for a common request, and what follows from it.

Per field, the values that a match admits are a regular language, and a field that it does not mention is free: two
matches share a request exactly when, for one way to read the key field in each, every field has a common value. Exact
values and prefixes are compared as strings, an exact value and an expression by RE2; only expressions among themselves
(and with prefixes) need automata. Work is counted and bounded. What can't be compared counts as overlapping.
"""

from xds.registry.overlap.budget import Budget
from xds.registry.overlap.common import value_alone
from xds.registry.overlap.decide import Disjoint, Overlap, Overlaps, Unknown, example_request, overlap
from xds.registry.overlap.everything import admits_every_path
from xds.registry.overlap.verdicts import Conflict, Fine, Verdict, Warn, verdict

__all__ = [
    "Budget",
    "Conflict",
    "Disjoint",
    "Fine",
    "Overlap",
    "Overlaps",
    "Unknown",
    "Verdict",
    "Warn",
    "admits_every_path",
    "example_request",
    "overlap",
    "value_alone",
    "verdict",
]
