"""Inner loops in C: what numpy cannot do in one pass over memory, and arithmetic wider than 64 bits.

Security assumption: the C code reads and writes exactly the arrays whose sizes the Python function beside it has
checked; nothing here decides, allocates, or reads anything else. What touches secrets has no branch and no index that
depends on them; points of the curve and `arrays.decode` take what everybody knows, and take other time for other
values. Every function has a slow twin in Python integers in `tests/kernels`.

Built by setuptools with the package (gcc is needed for fastecdsa anyway). Loaded through ctypes, which lets other
threads run meanwhile.
"""
