"""Trackers: where curves go besides the record; each module is one, named as in its YAML."""
