"""InfoSAM Studio: click-driven segmentation that adapts to your images."""

__version__ = "0.1.0"
