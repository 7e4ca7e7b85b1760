"""The spans of records, made one by one: what `expand` is held to.

Another way to the same: whoever changes what a trace says changes `shape` and this.
"""
