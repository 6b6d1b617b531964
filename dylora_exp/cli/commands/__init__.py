"""The commands: each module here is one, found by its name.

A command's module has

- ``HELP``: a line in the list of all commands, and ``DESCRIPTION`` where its own help says more,
  ``EPILOG`` where lines follow its options;
- ``add_arguments(parser)``: adds its arguments and options;
- ``run(arguments)``: does the work and returns the exit code.

All modules are imported for ``dylora --help``, so each imports what it works with inside ``run``.
"""
