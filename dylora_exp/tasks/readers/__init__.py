"""The readers: each module has a ``READER``, and its name is what ``task.reader`` says."""
