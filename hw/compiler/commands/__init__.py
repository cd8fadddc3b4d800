"""Commands of ``python -m hw.compiler``, one file each, with functions ``options`` and ``run``."""
