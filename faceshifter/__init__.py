import os

# Before PyTorch is loaded: threads that wait by spinning slow down a busy machine tenfold.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
