"""InfoSAM adaptation: losses, adapters, training and evaluation."""
