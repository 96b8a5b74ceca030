"""The demo: the tutorial's network and all of its callbacks on handwritten digits."""

from callboard.demo.digits import Digits as Digits
from callboard.demo.digits import load_digits as load_digits

__all__ = ["Digits", "load_digits"]
