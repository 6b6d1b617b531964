"""Any PEFT LoRA at any rank, in any trainer: what a notebook uses without a config."""

import lazy_loader

# ``__init__.pyi`` lists the names that other rooms may use; each is imported when asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
