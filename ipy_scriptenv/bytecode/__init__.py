"""Byte code that environments share: compiled once for each wheel, linked into each environment.

uv links the same files of a wheel into every environment and compiles none of them, so each new
environment would compile them again at its first imports. Their size and time agree, and these are
what Python judges byte code by (PEP 552 calls it timestamp-based): one set serves them all.

::

    <home>/bytecode-v1/<name>-<version>-<digest>+<abi>/                   byte code of one wheel
    <home>/bytecode-v1/<name>-<version>-<digest>+<abi>/bytecode.json      what is in it
    <home>/bytecode-v1/.wanted-<abi>+<environment name>                   what is to be compiled
    <home>/bytecode-v1/.building-<abi>+<token>                            one that is being made

The digest is of what the wheel's ``RECORD`` says of its modules. :mod:`~.sharing` links, and asks
for what is missing; :mod:`~.compiling` makes it, in a process of its own.
"""
