"""Pre-training of the starter model on procedural scenes and pool images."""
