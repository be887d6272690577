"""The labels: images, masks, edits and the project store. No Qt, no torch."""
