import os

# Before PyTorch is loaded: threads that wait by spinning slow down a busy machine tenfold.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# oneDNN keeps 1024 convolutions compiled, one for each size that a detector meets: memory would grow with every photograph of a new size.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")

__version__ = "0.1.0"
