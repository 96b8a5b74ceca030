"""Bridges: the callbacks in the loops of other libraries, one module for each, named after it.

Every module has a class ``Callbacks``, which is given to the library as one callback of its own
kind. Importing this package imports none of the libraries.
"""
