"""A tracer that no test selects."""

raise RuntimeError("imported although not selected")
