"""Code that runs in kernels: Python 3.9 and newer, standard library and ipykernel alone.

It is copied by the host to a folder of its own.
"""
