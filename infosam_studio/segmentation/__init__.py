"""SAM: checkpoints, prediction, embeddings and the click protocol."""
