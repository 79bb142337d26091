"""A notebook's packages on the workers of an engine: what of it runs in kernels.

Standard library alone, and the engine where it is used. The host has these modules too: what they
are given, a shipment, is made there (``ipy_scriptenv/cluster/``).
"""
