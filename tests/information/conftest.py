"""Property tests here call compiled kernels, whose first call compiles: no deadline."""

from hypothesis import settings

settings.register_profile("compiled", deadline=None)
settings.load_profile("compiled")
