"""Whether an xDS server keeps the rules of the protocol, judged from outside.

From the inside out: `rule` (what a rule is, and how it ends), `probe` (one stream, with requests that no client of good
manners would send), `bench` (one server by one transport, and what it has), the rules themselves (`both`, `sotw`,
`delta`, `changing`, `passive`), `judge` (runs them) and `report` (says what came of it).

A rule that can't be judged says so and never passes: a pass means that a violation would have been seen.
"""
