"""The window: canvas, panels and the workers that keep torch off the main thread."""
