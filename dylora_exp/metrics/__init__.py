"""Metrics: what each one is, which way is up, its unit and its signature."""

import lazy_loader

# ``__init__.pyi`` lists the names that other rooms may use; each is imported when asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
