"""Tables and figures, derived from records and nothing else; ``make.make_table`` is the way in."""
